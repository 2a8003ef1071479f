"""Probes over TLS: who is asked for, who is trusted, which certificate is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.conftest import StartGateway
from tests.proxy.name_server import NameServer
from tests.proxy.peers import eventually
from tests.proxy.test_upstream_tls import CA, OTHER_CA, SecuredUpstream
from tests.snapshot.rows import certificate

from .pools import Changes, active, at, endpoint, tables


@pytest.fixture
async def secured() -> AsyncIterator[SecuredUpstream]:
    """An upstream whose certificate is for shop.example and 127.0.0.1."""
    secured = SecuredUpstream()
    await secured.start_with(CA.issue("shop.example", "127.0.0.1"))
    yield secured
    await secured.stop()


@pytest.fixture
def trusted(tmp_path: Path) -> dict[str, Any]:
    """The setting that trusts the test's CA."""
    path = tmp_path / "ca.pem"
    path.write_text(CA.pem)
    return {"upstream_tls_ca": str(path)}


async def outcome(start_gateway: StartGateway, tables: Any, **settings: Any) -> tuple[bool, str]:
    """What the first probe of a target that was marked unhealthy leads to, or of a healthy one."""
    gateway = await start_gateway(tables, **settings)
    changes = Changes(gateway)
    [target] = tables["targets"]
    gateway.proxy.health.mark(target["id"], None, healthy=False)
    await changes.next()
    change = await changes.next()
    return change.available, change.reason


@pytest.mark.parametrize(
    ("of_checks", "of_pool", "name"),
    [
        ({}, {}, None),  # an address is not sent as a server name
        ({}, {"host_header": "shop.example:81"}, "shop.example"),
        ({"https_sni": "shop.example"}, {"host_header": "other.example"}, "shop.example"),
    ],
    ids=["address", "host_header", "https_sni"],
)
@pytest.mark.parametrize("kind", ["https", "grpcs"])
async def test_the_certificate_has_to_be_for_who_is_asked_for(
    start_gateway: StartGateway,
    secured: SecuredUpstream,
    trusted: dict[str, Any],
    kind: str,
    of_checks: dict[str, Any],
    of_pool: dict[str, Any],
    name: str | None,
):
    checks = active(kind=kind, **of_checks)
    found = await outcome(start_gateway, tables(checks, at(secured), **of_pool), **trusted)
    assert found == (True, "probe: status 200" if kind == "https" else "probe: connected")
    assert secured.names[0] == name


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    "pair", [OTHER_CA.issue("127.0.0.1"), CA.issue("127.0.0.2"), CA.issue("127.0.0.1", days=-1)]
)
async def test_a_certificate_that_does_not_hold_is_a_failure_where_it_is_verified(
    start_gateway: StartGateway, trusted: dict[str, Any], verify: bool, pair: Any
):
    secured = SecuredUpstream()
    await secured.start_with(pair)
    try:
        checks = active(kind="https", https_verify_certificate=verify)
        gateway = await start_gateway(tables(checks, at(secured)), **trusted)
        changes = Changes(gateway)
        if verify:
            change = await changes.next()
            assert "CERTIFICATE_VERIFY_FAILED" in change.reason
        else:
            await eventually(lambda: secured.requests)
            assert not changes.heard
    finally:
        await secured.stop()


async def test_the_client_certificate_of_the_upstream_entity_is_shown(
    start_gateway: StartGateway, secured: SecuredUpstream, trusted: dict[str, Any]
):
    shown = certificate(CA.issue("gateway.example"))
    rows = tables(
        active(kind="https"), at(secured), client_certificate={"id": str(shown["id"])}
    ) | {"certificates": [shown]}
    assert (await outcome(start_gateway, rows, **trusted))[0]
    assert secured.clients[0] == "gateway.example"


async def test_names_that_cannot_be_asked_for_are_failures(
    start_gateway: StartGateway, secured: SecuredUpstream
):
    server = NameServer()
    await server.start()
    host = "a" * 70 + ".test"
    server.records = {host: {"A": ["127.0.0.1"]}}
    checks = active(kind="https", https_verify_certificate=False)
    pool = tables(checks, at(secured), host_header=host)
    gateway = await start_gateway(pool, **server.settings)
    change = await Changes(gateway).next()
    assert "is no server name" in change.reason
    assert not endpoint(gateway, secured).available
    await server.stop()

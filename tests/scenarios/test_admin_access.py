"""The way to the Admin API of real nodes: what they refuse to start with, TLS, and its limits."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.self_signed import pem_of_certificate, pem_of_key, self_signed
from gateway.settings import NodeSettings
from gateway.store.admin_tokens import AdminTokens, Role
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.store import Store
from tests.proxy.peers import Client, ClientTls

from .conftest import StartNodes
from .nodes import DEADLINE_S, all_reach, until
from .test_start_errors import refusal
from .upstream import Upstream

EXPOSED = "127.1"
"""It is 127.0.0.1 to the kernel, so nobody gets in, but not spelt as what only we can reach."""

GET = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def tokens(store: Store) -> AdminTokens:
    return AdminTokens(store)


# -- what a node starts with


async def test_a_node_does_not_open_itself_to_everybody_by_mistake(
    database_url: str, tokens: AdminTokens, start_nodes: StartNodes
) -> None:
    exposed = {"database_url": database_url, "admin_host": EXPOSED}
    over_tls = {"database_url": database_url, "admin_tls_port": 0, "admin_tls_host": EXPOSED}
    for settings in (exposed, over_tls):
        line = await refusal(**settings)
        assert f"the Admin API would listen on {EXPOSED} with no token to ask for" in line
        assert "gateway admin token create NAME --role admin" in line
        assert "--admin-open (GATEWAY_ADMIN_OPEN)" in line

    (open_to_all,) = await start_nodes(1, admin_open=True, **exposed)
    await open_to_all.logged("whoever reaches the Admin API may change everything")
    assert (await open_to_all.admin("GET", "/services")).status_code == 200

    token = await tokens.create("ops", Role.ADMIN, None)
    (guarded,) = await start_nodes(1, **exposed)
    assert (await guarded.admin("GET", "/services")).status_code == 401
    assert (await guarded.admin("GET", "/services", token=token)).status_code == 200
    assert (await open_to_all.admin("GET", "/services")).status_code == 200


async def test_a_database_that_cannot_be_asked_opens_nothing(
    own_postgres: EmbeddedPostgres, upstream: Upstream, tmp_path: Path, start_nodes: StartNodes
) -> None:
    url = own_postgres.url()
    store = Store(NodeSettings(database_url=url))
    await store.start()
    token = await AdminTokens(store).create("ops", Role.ADMIN, None)
    await store.stop()
    settings = {
        "database_url": url,
        "admin_host": EXPOSED,
        "snapshot_dir": tmp_path,
        "poll_interval_s": 0.2,
    }
    (node,) = await start_nodes(1, **settings)
    service = {"name": "orders", "url": upstream.url}
    await node.admin("POST", "/services", service, token=token)
    route = {"name": "orders", "paths": ["/orders"]}
    made = await node.admin("POST", "/services/orders/routes", route, token=token)
    await node.copies(int(made.headers["X-Gateway-Config-Version"]))
    own_postgres.stop()
    await node.kill()
    assert "socket" in await refusal(**settings | {"snapshot_dir": ""})

    (again,) = await start_nodes(1, **settings | {"node_name": "node-1"})
    assert (await again.proxy("/orders/x")).text == "/x"
    for given in ("", token, "wrong"):
        response = await again.admin("GET", "/", token=given)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    own_postgres.start()

    async def lets_us_in() -> bool:
        return (await again.admin("GET", "/services/orders", token=token)).is_success

    await until(lets_us_in)
    assert (await again.admin("GET", "/")).status_code == 401


async def test_a_token_counts_on_all_nodes_until_it_is_revoked(
    start_nodes: StartNodes, tokens: AdminTokens
) -> None:
    nodes = await start_nodes(2)
    assert (await nodes[0].admin("POST", "/services", {"host": "a"})).status_code == 201
    token = await tokens.create("ops", Role.ADMIN, None)
    for node in nodes:
        assert (await node.admin("GET", "/services")).status_code == 401
        made = await node.admin("POST", "/services", {"host": "a"}, token=token)
        await all_reach(nodes, int(made.headers["X-Gateway-Config-Version"]))
    await tokens.revoke("ops")
    for node in nodes:
        assert (await node.admin("GET", "/services", token=token)).status_code == 401
        assert token not in str(node.log)


async def test_what_is_no_origin_is_said_at_the_start(database_url: str) -> None:
    line = await refusal(database_url=database_url, admin_origins="console.test", log_level="error")
    assert "--admin-origins (GATEWAY_ADMIN_ORIGINS): 'console.test' is not of the form" in line


# -- TLS


@pytest.fixture
async def https() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=DEADLINE_S) as client:
        yield client


async def test_the_admin_api_is_there_over_tls_too(
    start_nodes: StartNodes, tokens: AdminTokens, https: httpx.AsyncClient
) -> None:
    (node,) = await start_nodes(1, admin_tls_port=0, tls_min_version="1.3")
    address = node.addresses["admin_tls"]
    configuration = (await https.get(f"https://{address}/")).json()["configuration"]
    assert [listener["ssl"] for listener in configuration["admin_listeners"]] == [False, True]
    token = await tokens.create("ops", Role.ADMIN, None)
    assert (await https.get(f"https://{address}/")).status_code == 401
    assert (await node.admin("GET", "/")).status_code == 401
    response = await https.get(f"https://{address}/", headers={"Kong-Admin-Token": token})
    assert response.status_code == 200

    old = ssl._create_unverified_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await Client.connect(node.port("admin_tls"), tls=ClientTls(context=old))


async def test_the_certificate_of_the_admin_api_is_the_one_in_the_files(
    start_nodes: StartNodes, tmp_path: Path
) -> None:
    cert, key = pair_in(tmp_path)
    (node,) = await start_nodes(1, admin_tls_port=0, admin_tls_cert=cert, admin_tls_cert_key=key)
    context = ssl.create_default_context(cafile=cert)
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        response = await client.get(f"https://localhost:{node.port('admin_tls')}/services")
    assert response.status_code == 200


async def test_files_that_cannot_be_used_are_named_with_their_setting(tmp_path: Path) -> None:
    cert, key = pair_in(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    settings = {"database_url": "postgresql://127.0.0.1:1/gateway", "admin_tls_port": 0}
    missing, alone, strange = await asyncio.gather(
        refusal(**settings, admin_tls_cert=tmp_path / "nowhere.pem", admin_tls_cert_key=key),
        refusal(**settings, admin_tls_cert=cert),
        refusal(**settings, admin_tls_cert=cert, admin_tls_cert_key=pair_in(other)[1]),
    )
    assert "--admin-tls-cert (GATEWAY_ADMIN_TLS_CERT): " in missing
    assert "nowhere.pem cannot be read: No such file" in missing
    assert "--admin-tls-cert-key (GATEWAY_ADMIN_TLS_CERT_KEY) is required" in alone
    assert "--admin-tls-cert-key (GATEWAY_ADMIN_TLS_CERT_KEY): the key in" in strange


def pair_in(directory: Path) -> tuple[Path, Path]:
    """Write a pair of localhost; return where certificate and key are."""
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(pem_of_certificate(self_signed(key, "localhost", 1, usages)))
    key_path.write_bytes(pem_of_key(key))
    return cert_path, key_path


# -- limits


@pytest.mark.parametrize("listener", ["admin", "admin_tls", "status"])
async def test_silent_connections_make_room(start_nodes: StartNodes, listener: str) -> None:
    (node,) = await start_nodes(1, admin_max_connections=3, admin_tls_port=0)
    port = node.port(listener)
    silent = [await Client.connect(port) for _ in range(10)]
    asking = await Client.connect(port, tls=ClientTls() if listener == "admin_tls" else None)
    assert (await asking.ask(GET)).status == 200
    ends = [asyncio.create_task(client.closed()) for client in silent]
    async with asyncio.timeout(DEADLINE_S):
        while sum(end.done() for end in ends) < 8:  # all but two beside the one that asks
            await asyncio.wait(
                [end for end in ends if not end.done()], return_when=asyncio.FIRST_COMPLETED
            )
    for client in (*silent, asking):
        await client.reset()
    await asyncio.gather(*ends)


async def test_a_body_that_trickles_is_waited_for_only_so_long(start_nodes: StartNodes) -> None:
    (node,) = await start_nodes(1, admin_timeout_s=0.3, header_timeout_s=0.3)
    client = await Client.connect(node.port("admin"))
    head = "POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    client.send(f"{head}Content-Length: 100000\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE_S):
        while not client.writer.is_closing():
            client.send(b" ")
            await asyncio.sleep(0.01)
    await client.close()
    assert (await node.admin("GET", "/services")).json()["data"] == []

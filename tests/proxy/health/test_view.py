"""What a node tells of health, the marks it takes, and the word of other nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report
from gateway.status.health import AddressHealth, WeightHealth
from tests.proxy.conftest import StartGateway
from tests.proxy.name_server import NameServer
from tests.proxy.peers import Upstream, eventually, unchanging

from .pools import POOL, Changes, active, at, endpoint, passive, tables, view

SELDOM = active(every_s=1000)


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    server = NameServer()
    await server.start()
    yield server
    await server.stop()


async def test_all_targets_are_told_with_their_addresses(
    start_gateway: StartGateway, server: NameServer
):
    server.records = {
        "a.test": {"A": ["127.0.0.1", "127.0.0.2"]},
        "s.test": {"SRV": ["1 30 81 x.test."]},
        "x.test": {"A": ["127.0.0.4"]},
    }
    rows = tables(
        SELDOM,
        at(80, "a.test", weight=10),
        at(80, "127.0.0.3", weight=0),
        at(80, "s.test"),
        at(80, "nowhere.test"),
        at(80, "[::1]", weight=5),
    )
    gateway = await start_gateway(rows, **server.settings)
    health = gateway.proxy.health
    a = rows["targets"][0]["id"]
    found = await health.of(POOL["id"])  # waits for the names
    assert health.mark(a, "127.0.0.2:80", healthy=False) == 1
    found = await health.of(POOL["id"])
    assert found is not None
    assert (found.id, found.name, found.checked, found.healthy) == (POOL["id"], "pool", True, True)
    assert found.weights == WeightHealth(total=55, available=45)
    assert found.weights.unavailable == 10
    told = {target.id: target for target in found.targets}
    of_a, three, of_s, nowhere, six = (told[row["id"]] for row in rows["targets"])
    assert (of_a.host, of_a.port, of_a.weight, of_a.record_type) == ("a.test", 80, 10, "A")
    assert of_a.addresses == (
        AddressHealth("127.0.0.1", 80, 10, True, "healthy"),
        AddressHealth("127.0.0.2", 80, 10, False, "unhealthy"),
    )
    assert three.addresses == (AddressHealth("127.0.0.3", 80, 0, True, None),)
    assert of_s.addresses == (AddressHealth("127.0.0.4", 81, 30, True, "healthy"),)
    assert (of_s.record_type, six.record_type) == ("SRV", "AAAA")
    assert nowhere.addresses == ()
    assert nowhere.dns_error
    assert view(gateway) == found


async def test_without_checks_there_is_no_state(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(tables({}, at(upstream)))
    assert list(gateway.proxy.health.each()) == []
    found = await gateway.proxy.health.of(POOL["id"])
    assert found is not None
    assert not found.checked
    assert found.healthy
    [target] = found.targets
    assert target.addresses == (AddressHealth("127.0.0.1", upstream.port, 100, True, None),)


async def test_what_the_node_does_not_know(start_gateway: StartGateway, upstream: Upstream):
    rows = tables(passive(http_failures=1), at(upstream))
    gateway = await start_gateway(rows)
    health = gateway.proxy.health
    assert await health.of(uuid4()) is None
    assert health.mark(uuid4(), None, healthy=False) == 0
    assert health.mark(rows["targets"][0]["id"], "127.0.0.1:1", healthy=False) == 0
    assert health.mark(rows["targets"][0]["id"], "garbage", healthy=False) == 0
    health.take(uuid4(), ("a", "127.0.0.1", 1), Report.TIMEOUT, "")
    assert endpoint(gateway, upstream).available


async def test_marks_are_told_once(start_gateway: StartGateway, upstream: Upstream):
    rows = tables(passive(http_failures=1), at(upstream))
    gateway = await start_gateway(rows)
    changes = Changes(gateway)
    target_id = rows["targets"][0]["id"]
    for healthy in (True, False, False, True):
        assert gateway.proxy.health.mark(target_id, None, healthy=healthy) == 1
    assert [(c.available, c.reason, c.address) for c in changes.heard] == [
        (False, "set by the Admin API", f"127.0.0.1:{upstream.port}"),
        (True, "set by the Admin API", f"127.0.0.1:{upstream.port}"),
    ]


async def test_a_mark_waits_for_the_name_that_it_is_about(
    start_gateway: StartGateway, server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1", "127.0.0.2"]}, "b.test": {"A": ["127.0.0.3"]}}
    rows = tables(passive(http_failures=1), at(80, "a.test"), at(80, "b.test"))
    gateway = await start_gateway(rows, **server.settings)
    health = gateway.proxy.health
    a, b = (row["id"] for row in rows["targets"])
    for target_id, address, healthy in (
        (a, None, False),
        (a, "127.0.0.2:80", True),
        (b, None, True),
        (b, None, False),
    ):
        assert health.mark(target_id, address, healthy=healthy) == 0  # nobody has asked for it yet
    found = await health.of(POOL["id"])
    assert found is not None
    addresses = [address for target in found.targets for address in target.addresses]
    assert {it.ip: it.available for it in addresses} == {
        "127.0.0.1": False,
        "127.0.0.2": True,
        "127.0.0.3": False,
    }
    health.mark(b, None, healthy=True)
    found = await health.of(POOL["id"])
    assert found is not None
    assert found.weights.available == 200


class Elsewhere:
    """A plan by which others probe one port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.noted: list[tuple[UUID, Identity, Report, str]] = []

    def is_ours(self, upstream_id: UUID, identity: Identity) -> bool:
        return identity[2] != self.port

    def note(self, upstream_id: UUID, identity: Identity, report: Report, reason: str) -> None:
        self.noted.append((upstream_id, identity, report, reason))


async def test_nodes_may_share_the_probes(start_gateway: StartGateway, upstreams: list[Upstream]):
    one, two, _ = upstreams
    gateway = await start_gateway({})
    plan = Elsewhere(two.port)
    gateway.proxy.health.share_probes(plan)
    await gateway.change(tables(active(), at(one), at(two)))
    changes = Changes(gateway)
    await eventually(lambda: len(one.requests) > 3)
    await unchanging(lambda: len(two.connections))
    assert not two.connections
    ours = ("127.0.0.1", "127.0.0.1", one.port)
    assert plan.noted[0] == (POOL["id"], ours, Report.SUCCESS, "status 200")
    theirs = ("127.0.0.1", "127.0.0.1", two.port)
    gateway.proxy.health.take(POOL["id"], theirs, Report.TIMEOUT, "probe of node-2: timed out")
    change = await changes.next()
    assert (change.port, change.available) == (two.port, False)
    assert change.reason == "probe of node-2: timed out"


async def test_names_that_nobody_needs_are_told_by_their_last_answer(
    start_gateway: StartGateway, server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1"]}}
    quick = {"dns_ttl_min_s": 0.01, "dns_ttl_max_s": 0.01, "dns_not_found_ttl_s": 0.01}
    rows = tables(passive(http_failures=1), at(80, "a.test"))
    gateway = await start_gateway(rows, **quick, **server.settings)
    found = await gateway.proxy.health.of(POOL["id"])
    assert found is not None
    [target] = found.targets
    assert [address.ip for address in target.addresses] == ["127.0.0.1"]
    server.answering.clear()
    assert view(gateway) == await gateway.proxy.health.of(POOL["id"])
    server.answering.set()

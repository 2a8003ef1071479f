"""Probes: what they ask, what they make of what they get, and when they are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.proxy.conftest import StartGateway
from tests.proxy.name_server import NameServer
from tests.proxy.peers import Upstream, UpstreamPeer, eventually, unchanging

from .pools import GET, POOL, Changes, active, at, destination, endpoint, pool, shares, tables

SELDOM_S = 1000
HEALTHY_ONLY = {"unhealthy": {"interval": 0}}
UNHEALTHY_ONLY = {"healthy": {"interval": 0}}


def status(code: int) -> bytes:
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % code


async def asked(upstream: Upstream) -> tuple[UpstreamPeer, bytes]:
    """The next connection, and the head of what is asked on it."""
    peer = await upstream.accept()
    async with asyncio.timeout(5):
        return peer, await peer.reader.readuntil(b"\r\n\r\n")


@pytest.fixture
async def scripted(upstream: Upstream) -> Upstream:
    upstream.scripted = True
    return upstream


@pytest.mark.both_loops
async def test_a_target_that_dies_is_left_out_until_it_is_back(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    one, two, _ = upstreams
    gateway = await start_gateway(tables(active(), at(one), at(two)))
    changes = Changes(gateway)
    assert await shares(gateway, 4) == {b"0": 2, b"1": 2}
    await two.stop()
    gone = await changes.next()
    assert (gone.port, gone.available, gone.upstream) == (two.port, False, "pool")
    assert gone.reason.startswith("probe: Conn")
    assert await shares(gateway, 4) == {b"0": 4}
    await two.start(port=two.port)
    back = await changes.next()
    assert (back.port, back.available, back.reason) == (two.port, True, "probe: status 200")
    assert await shares(gateway, 4) == {b"0": 2, b"1": 2}


# -- what is asked


@pytest.mark.parametrize(
    ("of_pool", "of_checks", "head"),
    [
        ({}, {}, b"GET / HTTP/1.0\r\nHost: localhost"),
        (
            {"host_header": "shop.example:81"},
            {"http_path": "/health/now"},
            b"GET /health/now HTTP/1.0\r\nHost: shop.example:81",
        ),
        (
            {"host_header": "shop.example"},
            {"headers": {"X-Who": ["a", "b"], "Host": ["other.example"], "Accept": ["*/*"]}},
            b"GET / HTTP/1.0\r\nHost: other.example\r\nX-Who: a\r\nX-Who: b\r\nAccept: */*",
        ),
    ],
    ids=["default", "host_header", "headers"],
)
async def test_a_probe_asks_for_the_path_with_a_host_and_the_headers(
    start_gateway: StartGateway,
    scripted: Upstream,
    of_pool: dict[str, Any],
    of_checks: dict[str, Any],
    head: bytes,
):
    await start_gateway(tables(active(**of_checks), at(scripted, "localhost"), **of_pool))
    _, received = await asked(scripted)
    assert received == head + b"\r\n\r\n"


# -- what is made of the answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(500), "status 500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what came is no HTTP"),
        (b"x" * 10_000, "what came is no HTTP"),
        (b"HTTP/1.1 20", "connection closed before a response"),
        (b"", "connection closed before a response"),
    ],
)
async def test_an_answer_that_is_no_good_makes_a_target_unhealthy(
    start_gateway: StartGateway, scripted: Upstream, answer: bytes, reason: str
):
    gateway = await start_gateway(tables(active(), at(scripted)))
    changes = Changes(gateway)
    peer, _ = await asked(scripted)
    peer.send(answer)
    await peer.close()
    change = await changes.next()
    assert (change.available, change.reason) == (False, f"probe: {reason}")


async def test_a_status_in_neither_list_says_nothing(
    start_gateway: StartGateway, upstream: Upstream
):
    upstream.answer = status(418)
    gateway = await start_gateway(tables(active(), at(upstream)))
    await eventually(lambda: len(upstream.requests) > 3)
    assert endpoint(gateway, upstream).health.is_pristine


async def test_the_lists_are_those_of_the_configuration_and_nothing_is_followed(
    start_gateway: StartGateway, upstream: Upstream
):
    checks = active(unhealthy={"http_statuses": [302]}, healthy={"http_statuses": [418]})
    gateway = await start_gateway(tables(checks, at(upstream)))
    changes = Changes(gateway)
    upstream.answer = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
    assert (await changes.next()).reason == "probe: status 302"
    upstream.answer = status(418)
    assert (await changes.next()).reason == "probe: status 418"
    assert {request.target for request in upstream.requests} == {"/"}


async def test_it_takes_as_many_in_a_row_as_the_limits_say(
    start_gateway: StartGateway, upstream: Upstream
):
    answers = iter([500, 500, 200, 500, 500, 500, 200, 500, 200, 200, 200])
    given: list[int] = []

    def answer(request: object) -> bytes:
        given.append(next(answers, 200))
        return status(given[-1])

    upstream.answer = answer
    checks = active(healthy={"successes": 2}, unhealthy={"http_failures": 3})
    gateway = await start_gateway(tables(checks, at(upstream)))
    changes = Changes(gateway)
    assert not (await changes.next()).available
    assert given == [500, 500, 200, 500, 500, 500]
    assert (await changes.next()).available
    assert given == [500, 500, 200, 500, 500, 500, 200, 500, 200, 200]


async def test_a_silent_target_times_out_and_holds_up_no_other(
    start_gateway: StartGateway, scripted: Upstream, upstreams: list[Upstream]
):
    checks = active(timeout=0.5, concurrency=2)
    gateway = await start_gateway(tables(checks, at(scripted), at(upstreams[0])))
    changes = Changes(gateway)
    await asked(scripted)
    before = len(upstreams[0].requests)
    change = await changes.next()
    assert (change.port, change.reason) == (scripted.port, "probe: no response in time")
    assert len(upstreams[0].requests) > before
    assert await shares(gateway, 2) == {b"0": 2}


async def test_what_drips_is_not_waited_for(start_gateway: StartGateway, scripted: Upstream):
    gateway = await start_gateway(tables(active(timeout=0.5), at(scripted)))
    changes = Changes(gateway)
    peer, _ = await asked(scripted)

    async def drip() -> None:
        while not changes.heard:
            peer.send(b"H")
            await asyncio.sleep(0.01)

    async with asyncio.timeout(5):
        await drip()
    assert changes.heard[0].reason == "probe: no response in time"


# -- when


async def test_probes_begin_without_a_request_and_not_for_those_without_weight(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    one, two, _ = upstreams
    weightless = at(two, weight=0)
    gateway = await start_gateway(tables(active(), at(one), weightless))
    await eventually(lambda: len(one.requests) > 3)
    assert not two.connections
    await gateway.change({"targets": [weightless | {"weight": 1}]})
    await eventually(lambda: two.requests)


async def test_an_interval_of_zero_stops_the_probes_of_those_in_that_state(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    one, two, _ = upstreams
    gateway = await start_gateway(tables(active(**UNHEALTHY_ONLY), at(one), at(two)))
    changes = Changes(gateway)
    destination(gateway).mark([endpoint(gateway, one)], healthy=False, reason="test")
    assert not (await changes.next()).available
    assert (await changes.next()).available
    await unchanging(lambda: len(one.connections) + len(two.connections))
    assert (len(one.connections), len(two.connections)) == (1, 0)

    await gateway.change({"upstreams": [pool(active(**HEALTHY_ONLY))]})
    await eventually(lambda: len(two.connections) > 2)
    await two.stop()
    assert not (await changes.next()).available
    two.requests.clear()
    await two.start(port=two.port)
    seen = len(one.requests)
    await eventually(lambda: len(one.requests) > seen + 3)
    assert not two.requests


@pytest.mark.parametrize(
    ("settings", "concurrency"), [({}, 3), ({"health_probes_limit": 3}, 10)], ids=["pool", "node"]
)
async def test_no_more_are_probed_at_once_than_allowed(
    start_gateway: StartGateway,
    scripted: Upstream,
    server: NameServer,
    settings: dict[str, Any],
    concurrency: int,
):
    names = [f"{letter}.test" for letter in "abcdefg"]
    server.records = {name: {"A": ["127.0.0.1"]} for name in names}
    targets = [at(scripted, name) for name in names]
    checks = active(timeout=60, concurrency=concurrency)
    await start_gateway(tables(checks, *targets), **server.settings, **settings)
    peers = [await scripted.accept() for _ in range(3)]
    await unchanging(lambda: len(scripted.connections))
    assert len(scripted.connections) == 3
    hosts = set()
    for number in range(12):
        peer = peers[number]
        hosts.add(await peer.reader.readuntil(b"\r\n\r\n"))
        peer.send(status(200))
        peers.append(await scripted.accept())
    assert len(hosts) == 7


# -- other ways than HTTP


@pytest.mark.parametrize("kind", ["tcp", "grpc"])
async def test_a_connection_is_enough_where_nothing_is_asked(
    start_gateway: StartGateway, scripted: Upstream, kind: str
):
    gateway = await start_gateway(tables(active(kind=kind), at(scripted)))
    changes = Changes(gateway)
    peer = await scripted.accept()
    assert await peer.rest() == b""
    await scripted.stop()
    assert not (await changes.next()).available
    await scripted.start(port=scripted.port)
    assert (await changes.next()).reason == "probe: connected"


# -- names


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    server = NameServer()
    await server.start()
    yield server
    await server.stop()


async def test_each_address_of_a_name_is_probed_on_its_own(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    server.records = {"a.test": {"A": ["127.0.0.1", "127.0.0.2"]}}  # one of them listens
    tables_ = tables(active(), at(upstreams[0], "a.test"))
    gateway = await start_gateway(tables_, **server.settings)
    changes = Changes(gateway)
    change = await changes.next()
    assert (change.host, change.ip, change.available) == ("a.test", "127.0.0.2", False)
    await eventually(lambda: upstreams[0].requests)
    assert upstreams[0].requests[0]["Host"] == "a.test"
    assert await shares(gateway, 4) == {b"0": 4}
    assert not changes.heard


async def test_names_are_followed_without_a_request(
    start_gateway: StartGateway, upstreams: list[Upstream], server: NameServer
):
    gateway = await start_gateway(
        tables(active(), at(upstreams[0], "a.test")),
        dns_ttl_min_s=0.01,
        dns_ttl_max_s=0.01,
        dns_not_found_ttl_s=0.01,
        **server.settings,
    )
    await eventually(lambda: server.questions("A") > 1)
    server.records = {"a.test": {"A": ["127.0.0.1"]}}
    await eventually(lambda: upstreams[0].requests)
    server.records = {"a.test": {"A": ["127.0.0.3"]}}
    changes = Changes(gateway)
    assert (await changes.next()).ip == "127.0.0.3"
    await unchanging(lambda: len(upstreams[0].requests))


# -- the worst


async def test_a_target_that_goes_to_and_fro_ten_times_a_second_costs_neither_requests_nor_the_log(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    steady, flapping, _ = upstreams
    gateway = await start_gateway(tables(active(), at(steady), at(flapping)))
    changes = Changes(gateway)
    good = flapping.answer
    client, statuses = await gateway.connect(), set[int]()
    with capture_logs() as logs:
        for turn in range(20):
            flapping.answer = good if turn % 2 else status(500)
            while (await changes.next()).available is not bool(turn % 2):
                statuses.add((await client.ask(GET)).status)
            statuses.add((await client.ask(GET)).status)
    assert statuses <= {200, 500}
    assert 1 <= len(logs) <= 10


# -- the end


async def test_the_probes_of_an_upstream_entity_end_with_it(
    start_gateway: StartGateway, upstreams: list[Upstream], scripted: Upstream
):
    gateway = await start_gateway(
        tables(active(timeout=60), at(upstreams[0]), at(scripted)) | {"services": [], "routes": []}
    )
    silent = await scripted.accept()
    await eventually(lambda: upstreams[0].requests)
    await gateway.change({}, {"upstreams": [POOL["id"]]})
    await silent.rest()
    await unchanging(lambda: len(upstreams[0].requests))
    assert not gateway.proxy.destinations.known()


async def test_a_node_that_stops_leaves_no_probe_behind(
    start_gateway: StartGateway, upstreams: list[Upstream], scripted: Upstream
):
    before = asyncio.all_tasks()
    targets = [at(upstream) for upstream in upstreams]
    gateway = await start_gateway(tables(active(timeout=60, concurrency=1), *targets, at(scripted)))
    silent = await scripted.accept()
    await gateway.proxy.stop()
    await silent.rest()
    mine = {task for task in asyncio.all_tasks() - before if task.get_name() == "probe"}
    assert not mine

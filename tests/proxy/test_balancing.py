"""Services whose host names an upstream entity: requests spread over its targets, live."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.snapshot.rows import route, service, target
from tests.snapshot.rows import upstream as upstream_row

from .conftest import StartGateway
from .gateway import Gateway, Tables
from .peers import Upstream

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

POOL = upstream_row("pool")
ORDERS = service(host="pool", port=1, name="orders", path="/api")
ALL = route(ORDERS, name="all", paths=["/"])


@pytest.fixture
async def upstreams() -> AsyncIterator[list[Upstream]]:
    """Three of them; each answers with its number."""
    upstreams = [Upstream() for _ in range(3)]
    for number, upstream in enumerate(upstreams):
        await upstream.start()
        upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number
    yield upstreams
    for upstream in upstreams:
        await upstream.stop()


def tables(upstreams: list[Upstream], *weights: int) -> Tables:
    return {
        "services": [ORDERS],
        "routes": [ALL],
        "upstreams": [POOL],
        "targets": [
            target(POOL, f"127.0.0.1:{upstream.port}", weight=weight)
            for upstream, weight in zip(upstreams, weights, strict=False)
        ],
    }


async def shares(gateway: Gateway, requests: int) -> Counter[bytes]:
    """How many of so many requests each upstream answered."""
    client = await gateway.connect()
    return Counter([(await client.ask(GET)).body for _ in range(requests)])


async def test_each_target_has_its_weight_of_the_requests(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    gateway = await start_gateway(tables(upstreams, 1, 3, 0))
    assert await shares(gateway, 40) == {b"0": 10, b"1": 30}
    assert upstreams[0].requests[0].target == "/api"
    assert [len(upstream.connections) for upstream in upstreams] == [1, 1, 0]


async def test_targets_come_and_go_while_requests_are_served(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    begun = tables(upstreams, 1, 1)
    gateway = await start_gateway(begun)
    assert await shares(gateway, 10) == {b"0": 5, b"1": 5}
    added = target(POOL, f"127.0.0.1:{upstreams[2].port}", weight=1)
    await gateway.change({"targets": [added]}, {"targets": [begun["targets"][0]["id"]]})
    assert await shares(gateway, 10) == {b"1": 5, b"2": 5}
    await gateway.change({"targets": [added | {"weight": 0}]})
    assert await shares(gateway, 10) == {b"1": 10}


async def test_a_service_turns_to_an_upstream_entity_of_its_hosts_name_and_back(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    direct = service(name="orders", host="localhost", port=upstreams[0].port)
    gateway = await start_gateway({"services": [direct], "routes": [route(direct, paths=["/"])]})
    assert await shares(gateway, 4) == {b"0": 4}
    pool = upstream_row("localhost")
    other = target(pool, f"127.0.0.1:{upstreams[1].port}")
    await gateway.change({"upstreams": [pool], "targets": [other]})
    assert await shares(gateway, 4) == {b"1": 4}
    await gateway.change({"upstreams": [pool | {"name": "elsewhere"}]})
    assert await shares(gateway, 4) == {b"0": 4}
    await gateway.change({"upstreams": [pool]})
    assert await shares(gateway, 4) == {b"1": 4}
    await gateway.change({}, {"upstreams": [pool["id"]], "targets": [other["id"]]})
    assert await shares(gateway, 4) == {b"0": 4}


async def test_connections_are_kept_over_a_change_of_configuration(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    gateway = await start_gateway(tables(upstreams, 1))
    await shares(gateway, 3)
    await gateway.change({"upstreams": [POOL], "services": [ORDERS], "routes": [ALL]})
    await shares(gateway, 3)
    assert upstreams[0].requests_by_connection == {1: 6}


async def test_two_names_of_one_address_share_its_connections(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    port = upstreams[0].port
    by_name, by_address = (
        service(name=name, host=host, port=port)
        for name, host in (("by-name", "localhost"), ("by-address", "127.0.0.1"))
    )
    gateway = await start_gateway(
        {
            "services": [by_name, by_address],
            "routes": [route(by_name, paths=["/a"]), route(by_address, paths=["/b"])],
        }
    )
    client = await gateway.connect()
    for path in (b"/a", b"/b", b"/a", b"/b"):
        await client.ask(GET.replace(b"/ ", path + b" "))
    assert upstreams[0].requests_by_connection == {1: 4}
    assert {request["Host"] for request in upstreams[0].requests} == {
        f"localhost:{port}",
        f"127.0.0.1:{port}",
    }

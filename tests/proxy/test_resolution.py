"""What is remembered of a snapshot: bounded, never stale, and no different from the first time.

A path is remembered when it comes the second time, so what is asked for three times is worked out
twice.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.entities import Row
from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.client import Client
from gateway.proxy.deadlines import DeadlineWheel
from gateway.proxy.destinations import Destinations
from gateway.proxy.failures import FailureLog
from gateway.proxy.health.checker import HealthChecker
from gateway.proxy.http1 import HeadLimits, RequestHead, parse_request_head
from gateway.proxy.resolution import RouteTable, Sightings
from gateway.proxy.resolver import Resolver
from gateway.proxy.upstream_tls import UpstreamTls
from gateway.settings import NodeSettings, RouterFlavor
from gateway.snapshot import SnapshotApplier
from gateway.snapshot.heap import RequestHeap
from tests.snapshot.rows import full_load, route, service

LIMITS = HeadLimits(line_bytes=8192, head_bytes=32_768, header_count=200)
CLIENT = Client(b"127.0.0.1", 8000)
ORDERS = service(name="orders")
ROUTES = [
    route(ORDERS, name="v2", paths=["/"], headers={"x-version": ["2"]}),
    route(ORDERS, name="v1", paths=["/"]),
    route(ORDERS, name="plain", hosts=["plain.test"], paths=["/"]),
    route(ORDERS, name="only-v3", paths=["/three"], headers={"x-version": ["3"]}),
]


def head(*lines: bytes) -> RequestHead:
    parsed = parse_request_head(
        b"\r\n".join((b"GET / HTTP/1.1", b"Host: a", *lines, b"", b"")), LIMITS
    )
    assert parsed is not None
    return parsed


async def table_of(
    tables: dict[str, list[Row]], flavor: RouterFlavor = RouterFlavor.TRADITIONAL
) -> RouteTable:
    applier = SnapshotApplier(lambda _: None, flavor)
    await applier.apply(full_load(tables))
    assert applier.bad_entities() == []
    loop, upstream_tls = asyncio.get_running_loop(), UpstreamTls(NodeSettings(), FailureLog())
    checker = HealthChecker(1, DeadlineWheel(loop), upstream_tls, lambda: applier.current)
    destinations = Destinations(Resolver(NodeSettings()), loop, checker, RequestHeap())
    return RouteTable(
        applier.current,
        TrafficMetrics(),
        upstream_tls,
        flavor,
        destinations=destinations,
        heap=RequestHeap(),
        sightings=Sightings(),
    )


@pytest.fixture
async def table() -> RouteTable:
    return await table_of({"services": [ORDERS], "routes": ROUTES})


def found(
    table: RouteTable, path: bytes, *lines: bytes, host: bytes = b"a", client: Client = CLIENT
) -> str | None:
    resolution = table.find(head(*lines), host, path, client)
    return None if resolution is None else resolution.route.label


def test_headers_decide_each_time_anew(table: RouteTable):
    for _ in range(3):
        assert found(table, b"/x") == "v1"
        assert found(table, b"/x", b"X-Version: 2") == "v2"
        assert found(table, b"/three", b"X-Version: 3") == "only-v3"
        assert found(table, b"/three", b"X-Version: 4") == "v1"


def test_one_route_has_one_set_of_counters(table: RouteTable):
    resolutions = [table.find(head(), b"a", path, CLIENT) for path in (b"/x", b"/y", b"/x")]
    assert len({id(resolution.traffic) for resolution in resolutions if resolution}) == 1


def test_what_no_header_decides_is_worked_out_once(table: RouteTable):
    asked = (head(), head(b"X-Version: 1"), head(b"X-Version: 2"))
    once, twice, thrice = (table.find(one, b"plain.test", b"/x", CLIENT) for one in asked)
    assert once is not None
    assert thrice is twice
    assert (thrice.upstream_path, thrice.traffic) == (once.upstream_path, once.traffic)


def test_more_paths_than_are_remembered_are_still_found(
    table: RouteTable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(table, "_most_keys", 4)
    for number in range(10):
        for _ in range(3):
            assert found(table, b"/%d" % number) == "v1"
    assert len(table._plain) == 4


async def test_more_is_remembered_where_there_are_more_routes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.proxy.resolution._MEMO_KEYS", 2)
    few = await table_of({"services": [ORDERS], "routes": ROUTES[:1]})
    many = await table_of({"services": [ORDERS], "routes": ROUTES})
    assert (few._most_keys, many._most_keys) == (2, 5)


def test_keys_share_their_methods_and_hosts(table: RouteTable):
    for path in (b"/1", b"/2", b"/1", b"/2"):
        table.find(head(), bytes(bytearray(b"a.test")), path, CLIENT)
    (_, one, _), (_, other, _) = table._plain
    assert one is other


def test_what_came_before_is_known_after_the_next_apply():
    sightings = Sightings()
    assert not sightings.has_seen((b"GET", b"a", b"/"))
    assert sightings.has_seen((b"GET", b"a", b"/"))
    assert not sightings.has_seen((b"GET", b"b", b"/"))


def test_a_path_that_comes_once_is_not_remembered(table: RouteTable):
    for number in range(100):
        assert found(table, b"/%d" % number) == "v1"
    assert len(table._plain) == 0


def test_long_keys_are_not_remembered(table: RouteTable):
    for _ in range(3):
        assert found(table, b"/" + b"a" * 600) == "v1"
    assert len(table._plain) == 0


def test_an_old_table_is_emptied_bit_by_bit(table: RouteTable):
    for number in range(600):
        for _ in range(2):
            found(table, b"/%d" % number)
    kept = len(table._plain)
    assert kept == 600
    for _ in range(3):
        assert table.forget_some()
        assert kept - len(table._plain) <= 256
        kept = len(table._plain)
    assert kept == 0
    assert table.forget_some()  # what is known of the route
    assert table.forget_some()  # methods and hosts
    assert not table.forget_some()
    assert found(table, b"/1") == "v1"


async def test_a_regex_path_hands_its_captures_on():
    orders = route(ORDERS, name="orders", paths=[r"~/orders/(?<id>\d+)"])
    table = await table_of({"services": [ORDERS], "routes": [orders]})
    resolution = table.find(head(), b"a", b"/orders/%34%32/items", CLIENT)
    assert resolution is not None
    assert resolution.captures is not None
    assert resolution.captures.named == {"id": b"42"}
    assert resolution.captures.numbered == (b"/orders/42/items", b"42")


async def test_routes_of_a_disabled_service_are_passed_over():
    closed = service(name="closed", enabled=False)
    tables = {
        "services": [ORDERS, closed],
        "routes": [
            route(closed, name="closed", paths=["/orders"]),
            route(ORDERS, name="open", paths=["/"]),
        ],
    }
    assert found(await table_of(tables), b"/orders") == "open"


COMPATIBLE = RouterFlavor.TRADITIONAL_COMPATIBLE


@pytest.mark.parametrize(
    ("flavor", "host", "port", "matches"),
    [
        (COMPATIBLE, b"a.test", 8000, True),
        (COMPATIBLE, b"a.test", 8443, False),
        (COMPATIBLE, b"a.test:8000", 8443, True),
        (COMPATIBLE, b"a.test:80", 8000, False),
        (RouterFlavor.TRADITIONAL, b"a.test", 8000, False),
        (RouterFlavor.TRADITIONAL, b"a.test:8000", 8443, True),
    ],
)
async def test_only_the_compatible_flavor_takes_a_missing_port_for_the_listeners(
    flavor: RouterFlavor, host: bytes, port: int, *, matches: bool
):
    only_8000 = route(ORDERS, name="8000", hosts=["a.test:8000"])
    table = await table_of({"services": [ORDERS], "routes": [only_8000]}, flavor)
    client = Client(b"127.0.0.1", port)
    for _ in range(3):
        assert found(table, b"/", host=host, client=client) == ("8000" if matches else None)


@pytest.mark.parametrize(
    ("flavor", "path"), [(COMPATIBLE, b"/api/cart"), (RouterFlavor.TRADITIONAL, b"/apicart")]
)
async def test_the_compatible_flavor_takes_path_handling_v1_for_v0(
    flavor: RouterFlavor, path: bytes
):
    api = service(name="api", path="/api")
    v1 = route(api, paths=["/"], path_handling="v1")
    table = await table_of({"services": [api], "routes": [v1]}, flavor)
    resolution = table.find(head(), b"a", b"/cart", CLIENT)
    assert resolution is not None
    assert resolution.upstream_path == path

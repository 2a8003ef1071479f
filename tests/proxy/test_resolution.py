"""What is remembered of a snapshot: bounded, never stale, and no different from the first time."""

from __future__ import annotations

import pytest

from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.client import Client
from gateway.proxy.failures import FailureLog
from gateway.proxy.http1 import HeadLimits, RequestHead, parse_request_head
from gateway.proxy.resolution import RouteTable
from gateway.proxy.upstream_tls import UpstreamTls
from gateway.settings import NodeSettings
from gateway.snapshot import SnapshotApplier
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


@pytest.fixture
async def table() -> RouteTable:
    applier = SnapshotApplier(lambda _: None)
    await applier.apply(full_load({"services": [ORDERS], "routes": ROUTES}))
    return RouteTable(applier.current, TrafficMetrics(), UpstreamTls(NodeSettings(), FailureLog()))


def found(table: RouteTable, path: bytes, *lines: bytes) -> str | None:
    resolution = table.find(head(*lines), b"a", path, CLIENT)
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
    first = table.find(head(), b"plain.test", b"/x", CLIENT)
    assert first is not None
    assert table.find(head(b"X-Version: 1"), b"plain.test", b"/x", CLIENT) is first


def test_more_paths_than_are_remembered_are_still_found(
    table: RouteTable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.proxy.resolution._MEMO_KEYS", 4)
    for _ in range(2):
        for number in range(10):
            assert found(table, b"/%d" % number) == "v1"
    assert len(table._plain) == 4


def test_long_keys_are_not_remembered(table: RouteTable):
    assert found(table, b"/" + b"a" * 600) == "v1"
    assert len(table._plain) == 0


def test_an_old_table_is_emptied_bit_by_bit(table: RouteTable):
    for number in range(600):
        found(table, b"/%d" % number)
    assert table.forget_some()
    assert table.forget_some()
    assert not table.forget_some()
    assert found(table, b"/1") == "v1"

"""tcp-log: lines over a connection, and what becomes of them when there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.plugins.tcp_log import TcpLog
from gateway.testing import Serving
from tests.plugins.collectors import Collector, eventually, tcp_collector
from tests.plugins.configs import problems
from tests.plugins.test_http_log import free_port


def uris(collector: Collector) -> list[str]:
    return [json.loads(line)["request"]["uri"] for line in collector.lines]


async def test_a_line_for_each_request_over_one_connection():
    async with tcp_collector() as collector:
        async with Serving(TcpLog, host="127.0.0.1", port=collector.port) as gateway:
            for number in range(3):
                await gateway.ask("GET", f"/{number}")
            await eventually(lambda: uris(collector) == ["/0", "/1", "/2"])
        assert collector.connections == 1


async def test_an_unused_connection_is_closed():
    async with tcp_collector() as collector:
        config = {"host": "127.0.0.1", "port": collector.port, "keepalive": 10}
        async with Serving(TcpLog, **config) as gateway:
            await gateway.ask("GET", "/a")
            await eventually(lambda: uris(collector) == ["/a"])
            await eventually(collector.writers[0].is_closing)
            await gateway.ask("GET", "/b")
            await eventually(lambda: uris(collector) == ["/a", "/b"])
        assert collector.connections == 2


async def test_a_connection_that_the_server_has_closed_is_replaced():
    async with (
        tcp_collector() as collector,
        Serving(TcpLog, host="127.0.0.1", port=collector.port) as gateway,
    ):
        await gateway.ask("GET", "/a")
        await eventually(lambda: uris(collector) == ["/a"])
        collector.writers[0].close()
        await collector.writers[0].wait_closed()
        await gateway.ask("GET", "/b")
        await eventually(lambda: uris(collector) == ["/a", "/b"])


async def test_without_a_server_lines_are_dropped_and_told():
    with capture_logs() as logs:
        async with Serving(TcpLog, host="127.0.0.1", port=free_port()) as gateway:
            assert (await gateway.ask("GET", "/")).status_code == 200
            await eventually(lambda: "log entries are dropped" in [e["event"] for e in logs])
    assert [entry["dropped"] for entry in logs if "dropped" in entry] == [1]


async def test_a_server_that_speaks_no_tls_gets_nothing():
    with capture_logs() as logs:
        async with tcp_collector() as collector:
            config = {"host": "127.0.0.1", "port": collector.port, "tls": True, "timeout": 100}
            async with Serving(TcpLog, **config) as gateway:
                await gateway.ask("GET", "/")
                await eventually(lambda: "log entries are dropped" in [e["event"] for e in logs])
    assert not any(b"request" in line for line in collector.lines)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"host": "a"}, {"port": "required field missing"}),
        ({"host": "a:1", "port": 1}, {"host": "must not have a port"}),
        ({"host": "a", "port": 65536}, {"port": "value should be between 0 and 65535"}),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(TcpLog, config) == expected

"""The Python that a request takes, by what is on its route: `python -m benchmarks.exchange`.

Both connections are in this process, over transports that do nothing, so nothing but our own code
is measured. All kinds of routes take turns, a hundred requests each, so that whatever else the
machine does meets all alike; of many turns the quickest counts. Interpreter instructions do not
depend on the machine at all: they are counted once, by tracing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Mapping
from types import FrameType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from benchmarks.apply import full_load, row
from gateway.balancing.group import ALGORITHMS
from gateway.commands import Commands
from gateway.entities import Row
from gateway.metrics.traffic import TrafficMetrics
from gateway.plugins.host import PluginHost
from gateway.proxy.downstream import DownstreamConnection
from gateway.proxy.pool import UpstreamPools
from gateway.proxy.proxy import Proxy
from gateway.proxy.upstream import UpstreamConnection
from gateway.settings import NodeSettings
from gateway.snapshot import SnapshotApplier

KEY = "a-key"
PLUGINS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "nothing": {},
    "key-auth": {"key-auth": {}},
    "rate-limiting": {"rate-limiting": {"minute": 10**9}},
    "key-auth, rate-limiting": {"key-auth": {}, "rate-limiting": {"minute": 10**9}},
    "request-transformer": {"request-transformer": {"add": {"headers": ["X-Tenant:load"]}}},
    "prometheus by consumer": {"key-auth": {}, "prometheus": {"per_consumer": True}},
    "proxy-cache, a hit": {"proxy-cache": {"strategy": "memory"}},
}
SETTINGS: Mapping[str, Any] = {
    "snapshot_dir": "",
    "keepalive_requests": 10**9,
    "upstream_keepalive_requests": 0,
}
TARGETS = range(10_000, 10_010)
TURN = 100
"""Requests before the next kind of route has its turn."""

REQUEST = (
    b"GET /bench HTTP/1.1\r\nHost: 127.0.0.1:8000\r\napikey: %b\r\nAccept: */*\r\n\r\n"
    % KEY.encode()
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 26 Nov 2026 06:30:14 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\r\n"
    + b"x"
    * 100
)


class Transport:
    """Takes what is written, and keeps the last piece."""

    def __init__(self) -> None:
        self.last = b""

    def write(self, data: bytes) -> None:
        self.last = data

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 8000) if name in ("peername", "sockname") else None

    def is_closing(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Bench:
    """A gateway of one route, and a client's connection to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.best_s = float("inf")
        self._asked: list[UpstreamConnection] = []
        self._client = Transport()

    async def start(self, tables: Mapping[str, list[Row]]) -> None:
        """Serve what stands in some rows, and let the first request open its connections."""
        settings = NodeSettings(**SETTINGS)
        traffic, loop = TrafficMetrics(), asyncio.get_running_loop()
        self._proxy = Proxy(settings, loop, traffic, sync_now=_sync_now, stale_s=lambda: 0.0)
        self.plugins = PluginHost(settings, Commands(), traffic)
        applier = SnapshotApplier(self._proxy.use, make_plugin=self.plugins.make)
        await applier.apply(full_load(1, tables))
        if bad := applier.bad_entities():
            raise RuntimeError(bad[0].reason)
        self._proxy.start()
        state: Any = SimpleNamespace(connections=set())
        self._connection = DownstreamConnection(self._proxy, server_state=state)
        transport: Any = self._client
        self._connection.connection_made(transport)
        for _ in TARGETS:
            self.ask()
        if not self._client.last.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(self._client.last.decode())

    async def stop(self) -> None:
        await self.plugins.stop()
        await self._proxy.stop()

    def ask(self) -> None:
        """Send one request, and answer it where it arrives."""
        self._connection.data_received(REQUEST)
        if self._asked:
            self._asked.pop().data_received(RESPONSE)

    def take_turn(self) -> None:
        """Measure some requests."""
        ask = self.ask
        for _ in range(TURN // 4):  # caches are somebody else's yet
            ask()
        began = time.thread_time()
        for _ in range(TURN):
            ask()
        self.best_s = min(self.best_s, (time.thread_time() - began) / TURN)

    def instructions(self) -> int:
        """Return how many the interpreter runs for one request."""
        number = 0

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal number
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            number += event == "opcode"
            return trace

        counts = []
        for _ in range(5):
            number = 0
            sys.settrace(trace)
            self.ask()
            sys.settrace(None)
            counts.append(number)
        return min(counts)

    # -- in the place of the network

    def note_asked(self, connection: UpstreamConnection) -> None:
        self._asked.append(connection)

    def open_for(self, exchange: Any, endpoint: Any) -> None:
        proxy = self._proxy
        address = (endpoint.address, endpoint.port, None)
        connection = UpstreamConnection(proxy.pools, address, proxy.wheel, proxy.head_limits)
        transport: Any = Transport()
        connection.connection_made(transport)
        exchange.on_connected(connection)


async def _sync_now() -> None:
    """There is nothing newer."""


def with_plugins(plugins: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Row]]:
    """Return a route to one host with some plugins, and a consumer."""
    service = row("services", name="one", host="127.0.0.1", port=TARGETS[0])
    consumer = row("consumers", username="load")
    owner = {"id": str(consumer["id"])}
    return {
        "services": [service],
        "routes": [_route(service)],
        "consumers": [consumer],
        "keyauth_credentials": [row("keyauth_credentials", key=KEY, consumer=owner)],
        "plugins": [row("plugins", name=name, config=config) for name, config in plugins.items()],
    }


def with_targets(**balancing: Any) -> dict[str, list[Row]]:
    """Return a route to an upstream entity with targets."""
    upstream = row("upstreams", name="ten.internal", **balancing)
    service = row("services", name="ten", host="ten.internal")
    owner = {"id": str(upstream["id"])}
    return {
        "services": [service],
        "routes": [_route(service)],
        "upstreams": [upstream],
        "targets": [row("targets", upstream=owner, target=f"127.0.0.1:{port}") for port in TARGETS],
    }


def _route(service: Row) -> Row:
    return row("routes", name="all", paths=["/"], service={"id": str(service["id"])})


def kinds() -> dict[str, dict[str, list[Row]]]:
    """Return the rows of each kind of route by its name."""
    found = {name: with_plugins(plugins) for name, plugins in PLUGINS.items()}
    for algorithm in ALGORITHMS:
        hashed = {"hash_on": "ip"} if algorithm == "consistent-hashing" else {}
        found[f"ten targets, {algorithm}"] = with_targets(algorithm=algorithm, **hashed)
    watched = {"passive": {"healthy": {"successes": 2}, "unhealthy": {"http_failures": 3}}}
    found["ten targets, round-robin, watched"] = with_targets(healthchecks=watched)
    return found


async def run(turns: int) -> None:
    benches = {name: Bench(name) for name in kinds()}
    current: list[Bench] = []
    send_request = UpstreamConnection.send_request

    def send(connection: UpstreamConnection, *arguments: Any) -> None:
        current[-1].note_asked(connection)
        send_request(connection, *arguments)

    def open_for(_: UpstreamPools, exchange: Any, __: Any, endpoint: Any, *___: Any) -> None:
        current[-1].open_for(exchange, endpoint)

    with (
        patch.object(UpstreamConnection, "send_request", send),
        patch.object(UpstreamPools, "open_for", open_for),
    ):
        for name, tables in kinds().items():
            current.append(benches[name])
            await benches[name].start(tables)
        gc.collect()
        gc.freeze()
        for _ in range(turns):
            for bench in benches.values():
                current.append(bench)
                bench.take_turn()
                current.pop()
            gc.collect()
            await asyncio.sleep(0)  # deadlines and sweeps have their turn as well
        for bench in benches.values():
            current.append(bench)
            print(f"{bench.name:36} {bench.best_s * 1e6:6.2f} us {bench.instructions():6}")
    for bench in benches.values():
        await bench.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1000, help="of each kind of route")
    asyncio.run(run(parser.parse_args().turns))


if __name__ == "__main__":
    main()

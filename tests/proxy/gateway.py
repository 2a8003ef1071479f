"""A proxy on a free port, in this process and without a database: its rows are given by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

from gateway.entities import Row
from gateway.listener import open_socket
from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.arrival import connection_factory
from gateway.proxy.proxy import Proxy
from gateway.proxy.tls import TlsTermination
from gateway.settings import NodeSettings
from gateway.snapshot import SnapshotApplier
from tests.snapshot.rows import change_load, full_load, route, service

from .peers import Client, ClientTls, Response, Upstream, eventually

Tables = dict[str, list[Row]]


def one_route(upstream: Upstream | int, *, to: Any = None, **of_route: Any) -> Tables:
    """A service at ``upstream`` with the fields ``to``, and a route to it, by default for all."""
    port = upstream if isinstance(upstream, int) else upstream.port
    orders = service(**({"name": "orders", "port": port} | (to or {})))
    return {
        "services": [orders],
        "routes": [route(orders, **({"name": "all", "paths": ["/"]} | of_route))],
    }


def fresh_proxy(settings: NodeSettings, traffic: TrafficMetrics) -> Proxy:
    """A proxy whose snapshot is always new enough."""

    async def sync_now() -> None:
        return

    return Proxy(
        settings, asyncio.get_running_loop(), traffic, sync_now=sync_now, stale_s=lambda: 0.0
    )


class Gateway:
    """The running proxy.

    ``newer`` is what a sync finds, one version per sync, nothing when it is empty; ``stale_s`` is
    for how long it has not synced.
    """

    def __init__(self, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.settings = NodeSettings(**settings)
        self.traffic = TrafficMetrics()
        self.version = 1
        self.newer: list[Tables] = []
        self.syncs = 0
        self.stale_s = 0.0
        self.proxy = Proxy(
            self.settings, loop, self.traffic, sync_now=self._sync, stale_s=lambda: self.stale_s
        )
        self.applier = SnapshotApplier(self.proxy.use, self.settings.router_flavor)
        self.connections: set[Any] = set()
        self.server_state = SimpleNamespace(connections=self.connections)
        self._servers: list[asyncio.Server] = []
        self.clients: list[Client] = []
        self._errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self._errors.append(context))

    async def start(self, tables: Tables) -> None:
        await self.applier.apply(full_load(tables))
        assert self.applier.bad_entities() == []
        self.proxy.start()
        self.port = await self.listen()
        if self.proxy.tls is not None:
            self.tls_port = await self.listen(self.proxy.tls)

    async def listen(self, tls: TlsTermination | None = None) -> int:
        """Open one more listener, and return its port."""
        listening = open_socket("proxy", "127.0.0.1", 0, backlog=1024)
        make = partial(connection_factory(self.proxy, tls), server_state=self.server_state)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(make, sock=listening))
        port: int = listening.getsockname()[1]
        return port

    @property
    def refusals(self) -> dict[str, int]:
        """Connections that were closed before they could ask for anything, by reason."""
        return self.traffic.connections_refused

    async def change(self, tables: Tables, deleted: Mapping[str, list[Any]] | None = None) -> None:
        self.version += 1
        await self.applier.apply(change_load(tables, deleted, self.version))

    async def _sync(self) -> None:
        self.syncs += 1
        await asyncio.sleep(0)
        if self.newer:
            await self.change(self.newer.pop(0))

    async def connect(
        self, *, receive_buffer: int | None = None, tls: ClientTls | None = None
    ) -> Client:
        port = self.port if tls is None else self.tls_port
        client = await Client.connect(port, receive_buffer=receive_buffer, tls=tls)
        self.clients.append(client)
        return client

    async def ask(self, request: bytes, method: str = "GET") -> Response:
        """The response to a request on a connection of its own."""
        client = await self.connect()
        response = await client.ask(request, method)
        await client.close()
        return response

    def codes(self) -> dict[tuple[str, int, bool], int]:
        """Requests counted: (route, status, whether the upstream answered) → number."""
        return {
            (traffic.route, status, from_upstream): number
            for traffic in self.traffic
            for status, from_upstream, number in traffic.requests()
        }

    def idle_upstream_connections(self) -> int:
        return sum(len(pool.idle) for pool in self.proxy.pools._pools.values())

    async def stop(self) -> None:
        """Stop; fails if a connection outlives its client, or if anything raised unnoticed."""
        try:
            for client in self.clients:
                await client.reset()
            await eventually(lambda: not self.connections)
        finally:
            for server in self._servers:
                server.close()
            await self.proxy.stop()
            await self.applier.stop()
        assert self._errors == []

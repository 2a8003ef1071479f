"""A test kit for plugins: a proxy in this process, a service behind it, and who asks.

::

    async with Serving(Maintenance, message="back soon") as gateway:
        answer = await gateway.ask("GET", "/orders")
    assert answer.status_code == 503

Nothing is replaced by a double: requests go through sockets, the router and the whole chain. What
reached the service is in ``received``, and what it answers is set in ``answer``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, Self
from uuid import uuid4

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.commands import Commands
from gateway.entities import ENTITIES, Row
from gateway.metrics.traffic import TrafficMetrics
from gateway.plugins.contract import Plugin
from gateway.plugins.counter_store import CounterStore
from gateway.plugins.host import PluginHost
from gateway.proxy.arrival import connection_factory
from gateway.proxy.proxy import Proxy
from gateway.settings import NodeSettings
from gateway.snapshot import SnapshotApplier
from gateway.store.source import Batch, Load, VersionMark

DEADLINE_S = 10.0

Kind = type[Plugin]
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Received:
    """A request as it reached the service."""

    method: str
    path: str
    query: str
    headers: httpx.Headers
    body: bytes


class Service:
    """What stands behind the gateway: keeps what it receives and gives ``answer`` to all of it."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Response | Callable[[Received], Response] = JSONResponse({"message": "ok"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        request = Request(scope, receive)
        got = Received(
            method=request.method,
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=httpx.Headers(request.headers.raw),
            body=await request.body(),
        )
        self.received.append(got)
        answer = self.answer if isinstance(self.answer, Response) else self.answer(got)
        await answer(scope, receive, send)


class Serving:
    """A running gateway with one route to one service, and plugins on it.

    ``kind`` is the plugin under test with its ``config``; `use` adds further ones, `consumer` who
    may ask. ``settings`` are those of a node; ``route`` are the fields of the route, ``target``
    those of its service. ``counters`` may be set to those that it has in common with other nodes.
    """

    def __init__(
        self, kind: Kind, settings: Fields | None = None, /, *, enabled: bool = True, **config: Any
    ) -> None:
        self.settings = NodeSettings(snapshot_dir="", **(settings or {}))
        self.service = Service()
        self.counters: CounterStore | None = None
        self.route: dict[str, Any] = {"name": "all", "paths": ["/"]}
        self.target: dict[str, Any] = {"name": "orders", "host": "127.0.0.1"}
        self._kinds: dict[str, Kind] = {}
        self._tables: dict[str, list[Row]] = {table: [] for table in ENTITIES}
        self._version = 0
        self._stack = AsyncExitStack()
        if enabled:
            self.use(kind, **config)

    @property
    def received(self) -> list[Received]:
        """What has reached the service."""
        return self.service.received

    @property
    def port(self) -> int:
        """Where the gateway listens, on 127.0.0.1."""
        return self._client.base_url.port or 0

    # -- what there is, before it starts or until the next `apply`

    def use(self, kind: Kind, /, scope: Fields | None = None, **config: Any) -> Row:
        """Add a plugin; ``scope`` may have ``route``, ``service`` and ``consumer``: their rows."""
        self._kinds[kind.name] = kind
        complete = kind.Config.model_validate(config).model_dump(mode="json")
        columns = {f"{name}_id": row["id"] for name, row in (scope or {}).items()}
        row = _plain_row("plugins") | {"name": kind.name, "config": complete} | columns
        self._tables["plugins"].append(row)
        return row

    def consumer(self, username: str, **credentials: Fields) -> Row:
        """Add a consumer with credentials: each by its table, as ``keyauth_credentials={…}``."""
        consumer = self.entity("consumers", username=username)
        for table, fields in credentials.items():
            self.entity(table, consumer={"id": str(consumer["id"])}, **fields)
        return consumer

    def entity(self, table: str, **fields: Any) -> Row:
        """Add an entity as the Admin API would."""
        kind = ENTITIES[table]
        row = kind.to_row(kind.validate(kind.expand(fields, "create")))
        self._tables[table].append(row)
        return row

    def remove(self, table: str, row: Row) -> None:
        """Take an entity out."""
        self._tables[table].remove(row)

    # -- life

    async def __aenter__(self) -> Self:
        """Start the service and the gateway."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _start(self) -> None:
        service_port = await self._start_service()
        service = self.entity("services", **({"port": service_port} | self.target))
        self.entity("routes", **({"service": {"id": str(service["id"])}} | self.route))
        traffic = TrafficMetrics()
        loop = asyncio.get_running_loop()
        self.proxy = Proxy(self.settings, loop, traffic, sync_now=_sync_now, stale_s=lambda: 0.0)
        self.commands = Commands()
        self.plugins = PluginHost(self.settings, self.commands, traffic, self._kinds, self.counters)
        self._applier = SnapshotApplier(
            self.proxy.use, make_plugin=self.plugins.make, commands=self.commands
        )
        for stop in (self.plugins.stop, self._applier.stop, self.proxy.stop):  # last one first
            self._stack.push_async_callback(stop)
        await self.apply()
        self.proxy.start()
        self._client = await self._open_listener(loop)

    async def __aexit__(self, *_: object) -> None:
        """Stop everything."""
        await self._stack.aclose()

    async def apply(self) -> None:
        """Serve what there is now. Fails with the reason for a plugin that cannot run."""
        self._version += 1
        moment = datetime.now(UTC)
        mark = VersionMark(uuid4(), self._version, moment)
        batches = _each(Batch(table, rows, []) for table, rows in self._tables.items())
        await self._applier.apply(Load("full", mark, moment, moment, batches))
        bad = self._applier.bad_entities()
        if bad:
            raise ValueError(bad[0].reason)

    async def ask(self, method: str, path: str, **further: Any) -> httpx.Response:
        """Send a request to the gateway; ``further`` is what httpx takes."""
        return await self._client.request(method, path, **further)

    def measured(self, name: str, **labels: str) -> float:
        """Return what a plugin's metric says, named without a prefix, in the one such series."""
        samples = [sample for family in self.plugins.metrics() for sample in family.samples]
        (value,) = [
            s.value for s in samples if s.name == name and labels.items() <= s.labels.items()
        ]
        return value

    # -- steps

    async def _start_service(self) -> int:
        """Start the service; who connects before it accepts waits in its queue."""
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            self.service, lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="service")

        async def stop() -> None:
            server.should_exit = True
            await serving

        self._stack.push_async_callback(stop)
        port: int = listening.getsockname()[1]
        return port

    async def _open_listener(self, loop: asyncio.AbstractEventLoop) -> httpx.AsyncClient:
        connections: set[Any] = set()
        make = partial(
            connection_factory(self.proxy, None),
            server_state=SimpleNamespace(connections=connections),
        )
        server = await loop.create_server(make, "127.0.0.1", 0)
        self._stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=DEADLINE_S
        )
        await self._stack.enter_async_context(client)
        return client


def _plain_row(table: str) -> Row:
    """Return a row with all defaults."""
    moment = datetime.now(UTC)
    defaults = {field.column: field.default for field in ENTITIES[table].fields.values()}
    return defaults | {"id": uuid4(), "created_at": moment, "updated_at": moment}


async def _sync_now() -> None:
    """There is nothing newer."""


async def _each(batches: Iterable[Batch]) -> AsyncIterator[Batch]:
    for batch in batches:
        yield batch

"""An applier for tests: a copy of the tables, which can be told to fail, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from gateway.entities import ENTITIES, Row
from gateway.settings import NodeSettings
from gateway.store.source import DatabaseSource, Load
from gateway.sync.loop import SyncLoop
from gateway.sync.registry import create_strategy
from gateway.sync.status import SyncStatus
from gateway.sync.strategy import SyncStrategy
from tests.hybrid.planes import RunningControlPlane, with_pair

Contents = dict[tuple[str, UUID], Row]


class Mirror:
    """Copies what is loaded; ``failures`` are raised one per apply instead of that."""

    def __init__(self) -> None:
        self.contents: Contents = {}
        self.kinds: list[str] = []
        self.failures: list[Exception] = []
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.has_begun = asyncio.Event()
        self.batch_takes_s = 0.0

    async def apply(self, load: Load) -> None:
        self.kinds.append(load.kind)
        self.has_begun.set()
        contents = {} if load.kind == "full" else dict(self.contents)
        async for batch in load.batches:
            contents |= {(batch.table, row["id"]): row for row in batch.rows}
            for id_ in batch.deleted:
                contents.pop((batch.table, id_), None)
            await asyncio.sleep(self.batch_takes_s)
        await self.may_finish.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.contents = contents


class SyncedNode:
    """A sync loop with a mirror at its end; under hybrid with a control plane before it."""

    def __init__(self, settings: NodeSettings, strategy: SyncStrategy | None = None) -> None:
        self.control_plane: RunningControlPlane | None = None
        if settings.strategy == "hybrid":
            self.control_plane = RunningControlPlane(settings)
            settings = with_pair(settings, control_planes=self.control_plane.address)
        self.settings = settings
        self.mirror = Mirror()
        self.status = SyncStatus(strategy=settings.strategy)
        strategy = strategy or create_strategy(settings)
        self.source = strategy.source or DatabaseSource(settings)
        self.loop = SyncLoop(self.source, strategy, self.mirror, settings, self.status)
        self._changed = asyncio.Event()
        self.status.on_applied.append(self._changed.set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SyncedNode]:
        async with AsyncExitStack() as stack:
            if self.control_plane is not None:
                await stack.enter_async_context(self.control_plane.running())
            await self.loop.first_load()
            task = asyncio.create_task(self.loop.run(), name="sync-loop")
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.wait({task})
                await self.source.close()

    async def reaches(self, version: int) -> None:
        """Wait until this version, or a later one, is applied."""
        while self.status.applied is None or self.status.applied.version < version:
            self._changed.clear()
            await self._changed.wait()

    async def becomes(self, state: str) -> None:
        """Wait for a state of the sync status."""
        await until(lambda: self.status.state == state)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what is only a plain value, without an event to wait for."""
    while not condition():  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)


async def tables(url: str) -> Contents:
    """Return what the tables hold now."""
    contents: Contents = {}
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        for table in ENTITIES:
            async for row in await connection.execute(f"SELECT * FROM {table}"):
                contents[table, row["id"]] = row
    return contents


async def run_sql(url: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement)


async def newest_version(url: str) -> int:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute("SELECT version FROM config_version")).fetchone()
        assert row is not None
        return int(row[0])

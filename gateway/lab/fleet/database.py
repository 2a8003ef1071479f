"""The measured database: an embedded PostgreSQL or a given one, and its own account of its work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import structlog

from gateway.lab.cluster import LabError
from gateway.lab.fleet.writer import NAME as WRITER
from gateway.store import migrate
from gateway.up.errors import StartError
from gateway.up.process import Child

ANSWER_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 60.0
STAGE_TIMEOUT_S = 30.0
"""Thousands of sessions take a while to end; what is cut short is not what is measured."""

"""More than the server's process allows itself."""

CLOCK_LOOKS = 20
MEGABYTE = 1_000_000

_log = structlog.get_logger(__name__)

_WORK = """
    SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()
"""
_CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> %s
"""
_COMMITS = """
    SELECT version, extract(epoch FROM committed_at)::float8 FROM change_sets
    WHERE version > %s AND version <= %s
"""


@dataclass(frozen=True, slots=True)
class Work:
    """What the database has done so far; CPU seconds are None if its processes are not ours."""

    transactions: int
    cpu_s: float | None


class FleetDatabase:
    """A database with our schema, and a connection to ask it how it is."""

    def __init__(self, url: str, server: Child | None = None) -> None:
        self.url = url
        self._server = server
        self._meter: psycopg.AsyncConnection[Any] | None = None

    async def work(self) -> Work:
        """Return what it has done so far.

        Sessions report their transactions at most once a second, idle ones within ten.
        """
        (transactions,) = await self._row(_WORK)
        return Work(transactions, _cpu_s(await self._processes()))

    async def connections(self) -> int:
        """Return how many clients are connected, besides the writer and this."""
        (number,) = await self._row(_CONNECTIONS, f"gateway {WRITER}")
        return int(number)

    async def memory_mb(self) -> float | None:
        """Return what its processes occupy, shared memory once; None if it is not ours."""
        processes = await self._processes()
        return await asyncio.to_thread(_memory_mb, processes) if processes else None

    async def version(self) -> int:
        """Return the newest version."""
        (version,) = await self._row("SELECT version FROM config_version")
        return int(version)

    async def committed_at_s(self, after: int, up_to: int) -> dict[int, float]:
        """Return when these versions were committed, in seconds since the epoch."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            cursor = await (await self._connected()).execute(_COMMITS, [after, up_to])
            return {version: float(at_s) for version, at_s in await cursor.fetchall()}

    async def clock_ahead_s(self) -> float:
        """Return how far its clock is ahead of ours, by the quickest of several looks."""
        looks = [await self._look_at_clock() for _ in range(CLOCK_LOOKS)]
        return min(looks)[1]

    async def restart(self) -> float:
        """Stop the server and start it again; return how long it was away. Raises LabError."""
        if self._server is None:
            raise LabError("the database is not the lab's own: it cannot restart it")
        await self.disconnect()
        began_s = time.monotonic()
        await self._server.stop(STOP_TIMEOUT_S)
        await _start(self._server)
        return time.monotonic() - began_s

    async def disconnect(self) -> None:
        """Close our own connection; the next question opens another."""
        meter, self._meter = self._meter, None
        if meter is not None:
            await meter.close()

    async def _row(self, query: str, *values: Any) -> Any:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await (await (await self._connected()).execute(query, values)).fetchone()

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._meter is None:
            self._meter = await psycopg.AsyncConnection.connect(
                self.url, autocommit=True, application_name="gateway lab fleet"
            )
        return self._meter

    async def _look_at_clock(self) -> tuple[float, float]:
        """Return how long a look at its clock took, and how far that was ahead of ours."""
        before_s = time.time()
        (theirs_s,) = await self._row("SELECT extract(epoch FROM clock_timestamp())::float8")
        after_s = time.time()
        return after_s - before_s, theirs_s - (before_s + after_s) / 2

    async def _processes(self) -> list[psutil.Process]:
        """Return the server's processes, the postmaster first; none if it is not ours."""
        if self._server is None:
            return []
        (pid,) = await self._row("SELECT pg_backend_pid()")
        postmaster = psutil.Process(psutil.Process(pid).ppid())
        return [postmaster, *postmaster.children()]


@asynccontextmanager
async def fleet_database(url: str, max_connections: int) -> AsyncIterator[FleetDatabase]:
    """Open the given database, or a new server of our own if there is none. Raises LabError."""
    async with _server_for(url, max_connections) as (found, server):
        await asyncio.to_thread(_migrate, found)
        database = FleetDatabase(found, server)
        try:
            yield database
        finally:
            await database.disconnect()


@asynccontextmanager
async def _server_for(url: str, max_connections: int) -> AsyncIterator[tuple[str, Child | None]]:
    if url:
        yield url, None
        return
    with _temporary_directory() as directory:
        command = [
            *("gateway.up.postgres", str(directory / "postgres")),
            *("--max-connections", str(max_connections)),
            *("--stop-timeout", str(STAGE_TIMEOUT_S)),
        ]
        log = directory / "postgres.log"
        server = Child("PostgreSQL", command, os.environ, log, _log.warning, announces=True)
        try:
            yield await _start(server), server
        finally:
            await server.stop(STOP_TIMEOUT_S)


async def _start(server: Child) -> str:
    try:
        return await server.start()
    except StartError as error:
        raise LabError(str(error)) from error


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="gateway-fleet-"))
    try:
        directory.chmod(0o711)  # the server, if we are root, passes through as another account
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _migrate(url: str) -> None:
    try:
        migrate.upgrade(url)
    except migrate.MigrationError as error:
        raise LabError(f"the fleet's database: {error}") from error


def _cpu_s(processes: list[psutil.Process]) -> float | None:
    """Return the CPU time of the server, with that of its processes that have ended."""
    if not processes:
        return None
    ended = processes[0].cpu_times()
    total_s = ended.children_user + ended.children_system
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total_s += times.user + times.system
    return float(total_s)


def _memory_mb(processes: list[psutil.Process]) -> float:
    total_bytes = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total_bytes += process.memory_full_info().pss
    return total_bytes / MEGABYTE

"""Measures one cell: so many nodes of one strategy on one PostgreSQL, started for it and ended.

The phases: all nodes start, nothing changes, one writer changes, and on request PostgreSQL is
restarted under them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from gateway.lab.cluster import LabError
from gateway.lab.fleet.database import FleetDatabase, fleet_database
from gateway.lab.fleet.figures import CellResult, Restart, Spread, propagation
from gateway.lab.fleet.hybrid import control_planes
from gateway.lab.fleet.messages import FleetState, Order
from gateway.lab.fleet.meter import Meter
from gateway.lab.fleet.plan import Cell, check_files, share
from gateway.lab.fleet.workers import Workers
from gateway.lab.fleet.writer import Writer, open_writer
from gateway.settings import NodeSettings, read_settings
from gateway.store.errors import StoreError

STARTS_PER_S = 50
START_TIMEOUT_S = 120.0
LONGEST_SETTLING_S = 10.0
"""By then even idle sessions have reported the transactions of the start."""

ARRIVAL_TIMEOUT_S = 30.0
RESTART_TIMEOUT_S = 120.0
LOOK_INTERVAL_S = 0.1
PATIENCE = 3
"""The writer gives up when its changes take so many times as long as they should."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to try: changes per cell, seconds per phase, worker processes."""

    changes: int
    seconds: float
    workers: int
    restarts_postgres: bool = False
    database_url: str = ""


async def measure_cell(cell: Cell, effort: Effort, logs: Path, tell: Tell) -> CellResult:
    """Measure a cell; what goes wrong is part of the result. Log files go to ``logs``."""
    run = _CellRun(cell, effort, tell)
    try:
        async with AsyncExitStack() as stack:
            await run.open(stack, logs)
            await run.start()
            await run.stay_idle()
            await run.change()
            if effort.restarts_postgres:
                await run.restart()
    except (LabError, StoreError, psycopg.Error, TimeoutError) as error:
        run.note(problem=f"{run.phase}: {error or type(error).__name__}")
    return run.result


class _CellRun:
    """A cell under measurement; ``result`` has the figures so far."""

    _database: FleetDatabase
    _writer: Writer
    _workers: Workers
    _meter: Meter

    def __init__(self, cell: Cell, effort: Effort, tell: Tell) -> None:
        self.result = CellResult(cell)
        self.phase = ""
        self._cell = cell
        self._effort = effort
        self._tell = tell

    def note(self, **figures: Any) -> None:
        """Add to the result."""
        self.result = replace(self.result, **figures)

    async def open(self, stack: AsyncExitStack, logs: Path) -> None:
        """Bring up the database, the writer and the worker processes; nodes start from now on."""
        self._begin("opening")
        cell = self._cell
        database = await stack.enter_async_context(
            fleet_database(self._effort.database_url, cell.max_connections)
        )
        self._database = database
        self._writer = await stack.enter_async_context(open_writer(database.url))
        settings, control_pids = {"database_url": database.url}, list[int]()
        if cell.strategy.is_hybrid:
            planes = await stack.enter_async_context(control_planes(database.url))
            settings, control_pids = planes.settings, planes.pids
        orders = self._orders(settings, await database.clock_ahead_s())
        self._workers = await stack.enter_async_context(Workers(orders, logs))
        self._meter = Meter(database, self._workers, control_pids)

    async def start(self) -> None:
        """Wait until all nodes have loaded the configuration."""
        self._begin("starting")
        began_s = time.monotonic()
        await self._fleet_is("synced", self._all_synced, START_TIMEOUT_S)
        self.note(started_within_s=time.monotonic() - began_s)
        await asyncio.sleep(min(self._effort.seconds, LONGEST_SETTLING_S))

    async def stay_idle(self) -> None:
        """Measure what the fleet costs while nothing changes."""
        self._begin("idle")
        await self._meter.begin()
        await asyncio.sleep(self._effort.seconds)
        self.note(idle=await self._meter.end())
        self.note(connections=await self._database.connections())
        self.note(database_memory_mb=await self._database.memory_mb())

    async def change(self) -> None:
        """Measure changes: what they cost, and when they have arrived everywhere."""
        self._begin("changing")
        version = await self._database.version()
        await self._meter.begin()
        newest = await self._make_changes()
        await self._has_arrived(newest)
        fleet = self._workers.fleet
        self.note(
            changing=await self._meter.end(),
            write=Spread.of(self._writer.latencies_s),
            failures=fleet.failures,
            last_error=fleet.last_error,
        )
        await self._note_propagation(version, newest)

    async def restart(self) -> None:
        """Restart PostgreSQL; measure until all nodes are synced and a change is everywhere."""
        self._begin("restarting")
        failures = self._workers.fleet.failures
        connections = await self._database.connections()
        down_s = await self._database.restart()
        ready_s = time.monotonic()
        await self._all_have_synced_since(ready_s)
        synced_s = time.monotonic() - ready_s
        await self._are_connected(connections)
        connected_s = time.monotonic() - ready_s
        cpu_s = (await self._database.work()).cpu_s
        version = await self._writer.change()
        await self._has_arrived(version)
        commits = await self._database.committed_at_s(version - 1, version)
        arrival = propagation(await self._workers.report(), commits).everywhere
        self.note(
            restart=Restart(
                down_s=down_s,
                all_synced_after_s=synced_s,
                all_connected_after_s=connected_s,
                next_change_everywhere_ms=arrival.max_ms if arrival else None,
                failures=self._workers.fleet.failures - failures,
                database_cores=None if cpu_s is None else cpu_s / connected_s,
            )
        )

    # -- steps

    def _begin(self, phase: str) -> None:
        self.phase = phase
        self._tell(f"{self._cell.label}: {phase}")

    def _orders(self, settings: Mapping[str, str], clock_ahead_s: float) -> list[Order]:
        names = [f"fleet-{number}" for number in range(1, self._cell.nodes + 1)]
        shares = share(names, self._effort.workers)
        check_files(shares, self._cell.strategy)
        return [
            Order(
                settings={"log_level": "warning", **self._cell.strategy.settings, **settings},
                names=names,
                start_within_s=self._cell.nodes / STARTS_PER_S,
                clock_ahead_s=clock_ahead_s,
            )
            for names in shares
        ]

    async def _make_changes(self) -> int:
        """Write all changes, evenly spread but not in step with any poll; return the last one."""
        gap_s = self._effort.seconds / self._effort.changes
        began_s, version = time.monotonic(), 0
        for number in range(self._effort.changes):
            if time.monotonic() - began_s > PATIENCE * self._effort.seconds:
                raise LabError(f"only {number} of {self._effort.changes} changes could be written")
            due_s = began_s + gap_s * (number + random.random())  # noqa: S311 - no secret
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            version = await self._writer.change()
        return version

    async def _all_have_synced_since(self, began_s: float) -> None:
        def have_synced(fleet: FleetState) -> bool:
            return self._all_synced(fleet) and (fleet.earliest_success_s or 0.0) > began_s

        await self._fleet_is("synced again", have_synced, RESTART_TIMEOUT_S)

    async def _are_connected(self, number: int) -> None:
        """Wait until so many connections are there. Raises TimeoutError."""
        async with asyncio.timeout(RESTART_TIMEOUT_S):
            while await self._database.connections() < number:  # noqa: ASYNC110 - far away
                await asyncio.sleep(LOOK_INTERVAL_S)

    async def _has_arrived(self, version: int) -> None:
        def has_arrived(fleet: FleetState) -> bool:
            return fleet.lowest_version is not None and fleet.lowest_version >= version

        timeout_s = self._poll_interval_s() + ARRIVAL_TIMEOUT_S
        await self._fleet_is(f"at version {version}", has_arrived, timeout_s)

    async def _fleet_is(
        self, what: str, is_so: Callable[[FleetState], bool], timeout_s: float
    ) -> None:
        if not await self._workers.until(is_so, timeout_s):
            fleet = self._workers.fleet
            raise LabError(
                f"not all nodes were {what} within {timeout_s:g} s: {fleet.synced} of "
                f"{self._cell.nodes} are synced, {fleet.ended} have ended, the lowest version is "
                f"{fleet.lowest_version}, the last error: {fleet.last_error}"
            )

    def _all_synced(self, fleet: FleetState) -> bool:
        return fleet.synced == self._cell.nodes

    def _poll_interval_s(self) -> float:
        return self._cell.strategy.poll_interval_s or read_settings(NodeSettings).poll_interval_s

    async def _note_propagation(self, after: int, up_to: int) -> None:
        reports = await self._workers.report()
        commits = await self._database.committed_at_s(after, up_to)
        self.note(
            full_loads=sum(report.full_loads for report in reports) - len(reports),
            strategy_restarts=sum(report.strategy_restarts for report in reports),
        )
        own_s = (window_s for report in reports for window_s in report.own_propagation_s)
        self.note(propagation=propagation(reports, commits), own_propagation=Spread.of(own_s))

"""Small fleets measured for real: worker processes, nodes, PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import psycopg
import pytest

from gateway.lab.cluster import LabError
from gateway.lab.fleet.measure import Effort, measure_cell
from gateway.lab.fleet.messages import FleetState, Order
from gateway.lab.fleet.workers import Workers

from .making import cell

CHANGES = 3


def ignore(phase: str) -> None:
    del phase


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children()}


async def test_every_node_of_a_notified_fleet_applies_every_change_and_outlives_a_restart(
    tmp_path: Path,
) -> None:
    before = children()
    effort = Effort(CHANGES, seconds=1.0, workers=2, restarts_postgres=True)
    result = await measure_cell(cell("notify", 5), effort, tmp_path, ignore)
    assert result.problem is None
    assert result.propagation is not None
    assert result.propagation.missed == 0
    assert result.propagation.each is not None
    assert result.propagation.each.count == 5 * CHANGES
    assert result.propagation.everywhere is not None
    assert result.propagation.everywhere.count == CHANGES
    assert result.write is not None
    assert result.write.count == CHANGES
    assert result.connections == 15
    assert result.database_memory_mb is not None
    assert result.changing is not None
    assert result.changing.database_cores is not None
    assert result.changing.transactions_per_s > 0
    assert len(result.changing.simulator_cores) == 2
    assert result.restart is not None
    assert result.restart.next_change_everywhere_ms is not None
    assert result.restart.all_connected_after_s >= result.restart.all_synced_after_s
    assert children() == before


async def test_every_node_of_a_polling_fleet_applies_every_change_and_leaves_no_trace(
    tmp_path: Path, database_url: str
) -> None:
    effort = Effort(CHANGES, seconds=1.0, workers=2, database_url=database_url)
    result = await measure_cell(cell("poll:100ms", 5), effort, tmp_path, ignore)
    assert result.problem is None
    assert result.propagation is not None
    assert result.propagation.missed == 0
    assert result.propagation.each is not None
    assert result.propagation.each.count == 5 * CHANGES
    assert result.connections == 10
    assert result.database_memory_mb is None
    assert result.idle is not None
    assert result.idle.database_cores is None
    with psycopg.connect(database_url) as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM services) + (SELECT count(*) FROM routes)"
            " + (SELECT count(*) FROM nodes)"
        ).fetchone()
    assert left == (0,)


async def test_giving_up_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    before, started = children(), asyncio.Event()

    def note(phase: str) -> None:
        if phase.endswith("changing"):
            started.set()

    effort = Effort(CHANGES, seconds=1.0, workers=1)
    measuring = asyncio.create_task(measure_cell(cell("poll:1s", 2), effort, tmp_path, note))
    await started.wait()
    assert children() > before
    measuring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await measuring
    assert children() == before


async def test_a_fleet_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    effort = Effort(CHANGES, 1.0, 1, database_url="postgresql://nobody@127.0.0.1:1/none")
    result = await measure_cell(cell("notify", 5), effort, tmp_path, ignore)
    assert result.problem is not None
    assert result.problem.startswith("opening: ")
    assert "127.0.0.1" in result.problem


async def test_a_worker_that_dies_ends_the_measurement_by_name(
    tmp_path: Path, database_url: str
) -> None:
    order = Order(
        settings={"strategy": "poll", "database_url": database_url},
        names=["a"],
        start_within_s=0.1,
        clock_ahead_s=0.0,
    )

    def is_synced(fleet: FleetState) -> bool:
        return fleet.synced == 1

    before = children()
    async with Workers([order], tmp_path) as workers:
        assert await workers.until(is_synced, 60)
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(LabError, match="worker-1 has ended"):
            await workers.until(lambda fleet: fleet.synced == 2, 60)

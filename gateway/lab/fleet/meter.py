"""What a phase of a measurement costs: the database, the simulators, the machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from gateway.lab.fleet.database import FleetDatabase, Work
from gateway.lab.fleet.figures import Load
from gateway.lab.fleet.workers import Workers


@dataclass(frozen=True, slots=True)
class _Reading:
    at_s: float
    work: Work
    simulators_s: list[float]
    control_planes_s: float
    busy_s: float
    idle_s: float


class Meter:
    """Measures from `begin` to `end`; ``control_planes`` are process ids."""

    def __init__(
        self, database: FleetDatabase, workers: Workers, control_planes: Sequence[int]
    ) -> None:
        self._database = database
        self._workers = workers
        self._control_planes = [psutil.Process(pid) for pid in control_planes]
        self._begin: _Reading | None = None

    async def begin(self) -> None:
        """Take the first reading."""
        await self._workers.next_states()
        self._workers.longest_stall_s()
        self._begin = await self._read()

    async def end(self) -> Load:
        """Take the second reading; return what lies between."""
        await self._workers.next_states()
        before, after = self._begin, await self._read()
        if before is None:
            raise RuntimeError("the meter was not begun")
        return _load(before, after, self._workers.longest_stall_s())

    async def _read(self) -> _Reading:
        machine = psutil.cpu_times()
        idle_s = machine.idle + getattr(machine, "iowait", 0.0)
        return _Reading(
            at_s=time.monotonic(),
            work=await self._database.work(),
            simulators_s=[state.cpu_s for state in self._workers.states],
            control_planes_s=sum(map(_cpu_s, self._control_planes)),
            busy_s=machine.user + machine.nice + machine.system,
            idle_s=idle_s,
        )


def _load(before: _Reading, after: _Reading, longest_stall_s: float) -> Load:
    seconds = after.at_s - before.at_s
    busy_s, idle_s = after.busy_s - before.busy_s, after.idle_s - before.idle_s
    database_cores = None
    if before.work.cpu_s is not None and after.work.cpu_s is not None:
        database_cores = (after.work.cpu_s - before.work.cpu_s) / seconds
    simulators = zip(after.simulators_s, before.simulators_s, strict=True)
    return Load(
        seconds=seconds,
        transactions_per_s=(after.work.transactions - before.work.transactions) / seconds,
        database_cores=database_cores,
        simulator_cores=[(later_s - earlier_s) / seconds for later_s, earlier_s in simulators],
        control_plane_cores=(after.control_planes_s - before.control_planes_s) / seconds,
        machine_busy=busy_s / (busy_s + idle_s) if busy_s + idle_s else 0.0,
        longest_stall_s=longest_stall_s,
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)

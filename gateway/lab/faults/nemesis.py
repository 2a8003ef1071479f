"""Does to a cluster what the plan says, and makes it good again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from gateway.lab.faults.arena import Arena, Member
from gateway.lab.faults.history import Fault, Phase, Recorder
from gateway.lab.faults.plan import POSTGRES, FaultKind, PlannedFault
from gateway.lab.tasks import task_group


def victims(arena: Arena, kinds: Sequence[FaultKind]) -> Mapping[FaultKind, list[str]]:
    """Return who can suffer each kind of fault in this cluster; maybe nobody."""
    serving = [member.name for member in arena.serving]
    with_database = [member.name for member in arena.writing]
    everybody = [*serving, *(member.name for member in arena.control_planes)]
    suffering = {
        FaultKind.KILL: serving,
        FaultKind.PAUSE: everybody,
        FaultKind.CUT: everybody,
        FaultKind.STALL: everybody,
        FaultKind.RESET: everybody,
        FaultKind.DROP_NOTIFY: with_database,
        FaultKind.RESTART_POSTGRES: [POSTGRES],
        FaultKind.KILL_CONTROL_PLANE: [member.name for member in arena.control_planes],
    }
    return {kind: suffering[kind] for kind in kinds}


class Nemesis:
    """Works through the plan; told of each fault as it begins."""

    def __init__(
        self, arena: Arena, recorder: Recorder, tell: Callable[[PlannedFault], None]
    ) -> None:
        self._arena = arena
        self._recorder = recorder
        self._tell = tell
        self._members = {m.name: m for m in (*arena.serving, *arena.control_planes)}

    async def run(self, plan: Mapping[str, Sequence[PlannedFault]], duration_s: float) -> None:
        """Return when all faults are over; none begins after the duration, however late they are.

        Raises LabError when something does not come back.
        """
        began = asyncio.get_running_loop().time()
        async with task_group() as tasks:
            for victim, faults in plan.items():
                tasks.create_task(
                    self._torment(faults, began, duration_s), name=f"nemesis-of-{victim}"
                )

    async def _torment(
        self, faults: Sequence[PlannedFault], began: float, duration_s: float
    ) -> None:
        """Inflict faults on one victim, none before the one before is over."""
        loop = asyncio.get_running_loop()
        for fault in faults:
            await asyncio.sleep(began + fault.at_s - loop.time())
            if loop.time() > began + duration_s:
                return
            self._tell(fault)
            self._record(fault, "begins")
            async with self._inflicted(fault):
                await asyncio.sleep(fault.lasts_s)
            self._record(fault, "is over")

    def _inflicted(self, fault: PlannedFault) -> AbstractAsyncContextManager[None]:
        if fault.kind is FaultKind.RESTART_POSTGRES:
            return _postgres_away(self._arena)
        return _INFLICT[fault.kind](self._members[fault.victim])

    def _record(self, fault: PlannedFault, phase: Phase) -> None:
        self._recorder.record(Fault(self._recorder.now(), fault.kind, fault.victim, phase))


@asynccontextmanager
async def _killed(member: Member) -> AsyncIterator[None]:
    await member.node.kill()
    yield
    await member.start()


@asynccontextmanager
async def _paused(member: Member) -> AsyncIterator[None]:
    member.node.pause()
    try:
        yield
    finally:
        member.node.resume()


@asynccontextmanager
async def _cut(member: Member) -> AsyncIterator[None]:
    for link in member.links:
        link.cut()
    yield
    _heal(member)


@asynccontextmanager
async def _stalled(member: Member) -> AsyncIterator[None]:
    for link in member.links:
        link.stall()
    yield
    _heal(member)


@asynccontextmanager
async def _reset(member: Member) -> AsyncIterator[None]:
    for link in member.links:
        link.reset()
    yield


@asynccontextmanager
async def _unnotified(member: Member) -> AsyncIterator[None]:
    for link in member.links:
        link.drops_notifications = True
    yield
    _heal(member)


@asynccontextmanager
async def _postgres_away(arena: Arena) -> AsyncIterator[None]:
    await arena.cluster.stop_postgres()
    yield
    await arena.cluster.start_postgres()


def _heal(member: Member) -> None:
    for link in member.links:
        link.heal()


_INFLICT: Mapping[FaultKind, Callable[[Member], AbstractAsyncContextManager[None]]] = {
    FaultKind.KILL: _killed,
    FaultKind.KILL_CONTROL_PLANE: _killed,
    FaultKind.PAUSE: _paused,
    FaultKind.CUT: _cut,
    FaultKind.STALL: _stalled,
    FaultKind.RESET: _reset,
    FaultKind.DROP_NOTIFY: _unnotified,
}

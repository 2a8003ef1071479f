"""The measurement of one strategy: lanes of changes, each followed on all probed nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from gateway.lab.cluster import LabError
from gateway.lab.staleness.changes import Change, Lane
from gateway.lab.staleness.meters import Meters, counted, windows_between
from gateway.lab.staleness.pace import LEAST_PAUSE_S, Pace
from gateway.lab.staleness.probe import Probe
from gateway.lab.staleness.result import MeasuredChange, StrategyResult
from gateway.lab.staleness.target import Target
from gateway.lab.staleness.wire import Connection
from gateway.lab.staleness.writer import Writer
from gateway.lab.strategies import Strategy
from gateway.lab.tasks import task_group

CLEAN_UP_TIMEOUT_S = 60.0
WARM_UP_CHANGES = 3
"""One of each kind, not counted: the first of anything is slower than what follows."""

SETTLE_S = 1.5
"""Before what idleness costs is read: PostgreSQL counts with up to a second's delay."""

Progress = Callable[[], object]


async def measure(
    target: Target,
    strategy: Strategy,
    pace: Pace,
    *,
    changes: int,
    idle_s: float,
    random: Random,
    progress: Progress,
) -> StrategyResult:
    """Make so many changes on the cluster, follow them, and leave nothing of them behind.

    Before that the cluster is watched for ``idle_s``. ``progress`` is called after each change.
    Raises `LabError`.
    """
    loop = asyncio.get_running_loop()
    async with _running_lanes(target, pace, random) as lanes, Meters(target) as meters:
        await _warm_up(lanes[0], pace)
        await asyncio.sleep(SETTLE_S)
        quiet = await meters.read()
        await asyncio.sleep(idle_s)
        before, began_s = await meters.read(), loop.time()
        measured = await _run(lanes, changes, pace, random, progress)
        duration_s, after = loop.time() - began_s, await meters.read()
    return StrategyResult(
        label=strategy.label,
        poll_interval_s=strategy.poll_interval_s,
        nodes=tuple(target.probed),
        probe_gap_ms=pace.probe_gap_s * 1000,
        lanes=pace.lanes,
        duration_s=duration_s,
        changes=tuple(measured),
        idle=counted(quiet, before, target.nodes),
        busy=counted(before, after, target.nodes),
        own_windows=windows_between(before, after, target.checked),
    )


class RunningLane:
    """A lane with its connections; its changes follow one another."""

    def __init__(self, lane: Lane, writer: Writer, probes: Sequence[Probe]) -> None:
        self.probes = probes
        self._writer = writer
        self._changes = lane.changes()

    async def run(
        self, numbers: Iterator[int], pace: Pace, random: Random, progress: Progress
    ) -> list[MeasuredChange]:
        """Make changes as long as there are numbers for them, with a random pause before each."""
        measured = []
        for number in numbers:
            await asyncio.sleep(random.uniform(LEAST_PAUSE_S, pace.most_pause_s))
            measured.append(await self.make_change(number, pace.patience_s))
            progress()
        return measured

    async def make_change(self, number: int, patience_s: float) -> MeasuredChange:
        """Make the lane's next change and follow it on all nodes. Raises `LabError`."""
        change = next(self._changes)
        acknowledged = asyncio.get_running_loop().create_future()
        async with task_group() as tasks:
            probing = [
                tasks.create_task(probe.follow(change, acknowledged, patience_s))
                for probe in self.probes
            ]
            write_ms = await self._write(change, acknowledged)
        observations = tuple(task.result() for task in probing)
        return MeasuredChange(number, change.kind, write_ms, observations)

    async def _write(self, change: Change, acknowledged: asyncio.Future[float]) -> float:
        """Make the write and tell when it was acknowledged; return how long it took, in ms."""
        answer = await self._writer.write(change.write)
        acknowledged.set_result(answer.received_s)
        return (answer.received_s - answer.sent_s) * 1000


async def _run(
    lanes: Sequence[RunningLane], changes: int, pace: Pace, random: Random, progress: Progress
) -> list[MeasuredChange]:
    """Share the changes among the lanes; return them in the order in which they began."""
    numbers = iter(range(1, changes + 1))
    async with task_group() as tasks:
        running = [tasks.create_task(lane.run(numbers, pace, random, progress)) for lane in lanes]
    measured = [change for lane in running for change in lane.result()]
    return sorted(measured, key=lambda change: change.number)


async def _warm_up(lane: RunningLane, pace: Pace) -> None:
    """Make changes that do not count, and see that the probes can tell them at all."""
    for _ in range(WARM_UP_CHANGES):
        change = await lane.make_change(0, pace.patience_s)
        for probe, observation in zip(lane.probes, change.observations, strict=True):
            if observation.window_ms is None:
                raise LabError(
                    f"{probe.node} ({probe.connection.origin}) does not show the first "
                    f"{change.kind} after {pace.patience_s:g} s; it answers {probe.last_answer}. "
                    "Is it a proxy of this cluster, and does the upstream answer with its path?"
                )


@asynccontextmanager
async def _running_lanes(
    target: Target, pace: Pace, random: Random
) -> AsyncIterator[list[RunningLane]]:
    """Create the lanes' services and connections; in the end remove what the lanes created."""
    run = f"{random.getrandbits(32):08x}"
    lanes = [Lane(run, number, target.upstream_url) for number in range(pace.lanes)]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_clean_up, target, lanes)
        yield [await _open(lane, target, pace, stack) for lane in lanes]


async def _open(lane: Lane, target: Target, pace: Pace, stack: AsyncExitStack) -> RunningLane:
    writer = Writer(stack.enter_context(Connection(target.admin)))
    await writer.write(lane.put_service())
    probes = [
        Probe(node, stack.enter_context(Connection(origin)), lane.probe_path, pace.probe_gap_s)
        for node, origin in target.probed.items()
    ]
    return RunningLane(lane, writer, probes)


async def _clean_up(target: Target, lanes: Sequence[Lane]) -> None:
    with Connection(target.admin) as connection:
        async with asyncio.timeout(CLEAN_UP_TIMEOUT_S):
            await Writer(connection).remove(write for lane in lanes for write in lane.removal())

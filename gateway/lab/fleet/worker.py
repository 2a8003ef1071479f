"""A worker process: simulates many nodes in one event loop, and says how they are.

`python -m gateway.lab.fleet.worker` reads an `Order` from standard input and then the word
``report`` whenever it is asked for one. It ends when standard input does, however its parent ended.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Callable

import structlog
from pydantic import SecretStr

from gateway.lab.fleet.messages import FleetState, Order, WorkerMessage, least
from gateway.lab.fleet.node import SimulatedNode, database_clock
from gateway.logs import configure_logs
from gateway.settings import NodeSettings, read_settings

STATE_INTERVAL_S = 0.2
LINE_LIMIT_BYTES = 1 << 20
STOPS_AT_ONCE = 20

_log = structlog.get_logger(__name__)


def main() -> None:
    """Simulate the ordered nodes until standard input ends."""
    _raise_file_limit()
    with asyncio.Runner(loop_factory=_event_loop_of_nodes()) as runner:
        runner.run(_work())


async def _work() -> None:
    commands = await _standard_input()
    order = Order.model_validate_json(await commands.readline())
    worker = Worker(order)
    talking = asyncio.create_task(worker.tell_states(), name="tell-states")
    try:
        worker.start(order.start_within_s)
        while await commands.readline():
            worker.tell(with_report=True)
    finally:
        talking.cancel()
        await worker.stop()


class Worker:
    """The nodes of one process."""

    def __init__(self, order: Order) -> None:
        nodes = [_settings(order, name) for name in order.names]
        configure_logs(nodes[0])
        clock = database_clock(order.clock_ahead_s)
        self._nodes = [SimulatedNode(settings, clock) for settings in nodes]
        self._tasks: list[asyncio.Task[None]] = []
        self._stall_s = 0.0
        self._ended = 0
        self._last_error: str | None = None

    def start(self, within_s: float) -> None:
        """Start the nodes one after the other."""
        gap_s = within_s / len(self._nodes)
        self._tasks = [
            asyncio.create_task(self._live(node, number * gap_s), name=node.settings.node_name)
            for number, node in enumerate(self._nodes)
        ]

    async def stop(self) -> None:
        """End all nodes, a few at a time: their good-byes are writes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        door = asyncio.Semaphore(STOPS_AT_ONCE)
        await asyncio.gather(*(_leave(node, door) for node in self._nodes))

    async def tell_states(self) -> None:
        """Say how the nodes are, at an interval, and note how late each turn comes."""
        while True:
            due_s = time.monotonic() + STATE_INTERVAL_S
            await asyncio.sleep(STATE_INTERVAL_S)
            self._stall_s = max(0.0, time.monotonic() - due_s)
            self.tell()

    def tell(self, *, with_report: bool = False) -> None:
        """Write one message; blocks until the parent takes it, which is at once."""
        report = [node.report() for node in self._nodes] if with_report else None
        sys.stdout.write(WorkerMessage(state=self._state(), report=report).model_dump_json() + "\n")
        sys.stdout.flush()

    async def _live(self, node: SimulatedNode, after_s: float) -> None:
        try:
            await node.run(after_s)
        except Exception as error:  # noqa: BLE001 - what ends a node is what we are here to see
            self._ended += 1
            self._last_error = f"{type(error).__name__}: {error}"
            _log.exception("a simulated node ended by itself", node=node.settings.node_name)

    def _state(self) -> FleetState:
        syncs = [node.sync for node in self._nodes]
        errors = (sync.last_error for sync in syncs if sync.last_error)
        self._last_error = next(errors, self._last_error)  # a node forgets it with its next success
        applied = (None if sync.applied is None else sync.applied.version for sync in syncs)
        return FleetState(
            synced=sum(node.is_synced for node in self._nodes),
            lowest_version=least(applied),
            earliest_success_s=least(sync.last_success for sync in syncs),
            cpu_s=time.process_time(),
            stall_s=self._stall_s,
            ended=self._ended,
            failures=sum(sync.failures for sync in syncs),
            last_error=self._last_error,
        )


def _event_loop_of_nodes() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _settings(order: Order, name: str) -> NodeSettings:
    given = {**order.settings, "node_name": name}
    return read_settings(
        NodeSettings, **given | {"database_url": SecretStr(given.get("database_url", ""))}
    )


async def _leave(node: SimulatedNode, door: asyncio.Semaphore) -> None:
    async with door:
        await node.stop()


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _raise_file_limit() -> None:
    """Allow ourselves as many open files as the system allows us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()

"""The worker processes as the lab holds them: started, watched, asked, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Self

from gateway.lab.cluster import LabError
from gateway.lab.fleet.messages import FleetState, NodeReport, Order, WorkerMessage

LINE_LIMIT_BYTES = 1 << 28
"""A report has a line per worker, with every apply of every node."""

REPORT_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 60.0
"""A thousand nodes take leave of the database one after the other."""

LAST_WORDS_BYTES = 4096


class WorkerProcess:
    """One worker process, and the last thing it said of its nodes."""

    def __init__(self, number: int, order: Order, log_path: Path) -> None:
        self.name = f"worker-{number}"
        self.state = FleetState()
        self.longest_stall_s = 0.0
        self.has_spoken = asyncio.Event()
        self._order = order
        self._log_path = log_path
        self._report: asyncio.Future[list[NodeReport]] | None = None
        self._process: Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and give it its order."""
        with self._log_path.open("wb") as log:
            self._process = await _spawn(log)
        self._listening = asyncio.create_task(self._listen(self._process), name=self.name)
        self._say(self._order.model_dump_json())

    async def report(self) -> list[NodeReport]:
        """Return what each node did so far. Raises LabError."""
        self._report = asyncio.get_running_loop().create_future()
        self._say("report")
        try:
            async with asyncio.timeout(REPORT_TIMEOUT_S):
                return await self._report
        except TimeoutError:
            raise LabError(f"{self.name} has not reported within {REPORT_TIMEOUT_S:g} s") from None

    async def stop(self) -> None:
        """Let the nodes leave in order; end the process if that takes too long."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if self._listening:
            await asyncio.gather(self._listening, return_exceptions=True)

    def check(self) -> None:
        """Raise LabError if the process has ended or its messages cannot be understood."""
        if self._listening is not None and self._listening.done():
            raise LabError(f"{self.name} has ended: {self._last_words()}")

    def _say(self, line: str) -> None:
        self.check()
        if self._process and self._process.stdin:
            self._process.stdin.write(line.encode() + b"\n")

    async def _listen(self, process: Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            self._take(WorkerMessage.model_validate_json(line))

    def _take(self, message: WorkerMessage) -> None:
        self.state = message.state
        self.longest_stall_s = max(self.longest_stall_s, message.state.stall_s)
        if message.report is not None and self._report and not self._report.done():
            self._report.set_result(message.report)
        self.has_spoken.set()

    def _last_words(self) -> str:
        lines = self._log_path.read_text("utf-8", "replace")[-LAST_WORDS_BYTES:].splitlines()
        return lines[-1].strip() if lines else "it said nothing"


class Workers:
    """All worker processes of a fleet."""

    def __init__(self, orders: Sequence[Order], directory: Path) -> None:
        self._processes = [
            WorkerProcess(number, order, directory / f"worker-{number}.log")
            for number, order in enumerate(orders, 1)
        ]

    async def __aenter__(self) -> Self:
        """Start all, or none."""
        try:
            for process in self._processes:
                await process.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(process.stop() for process in self._processes))

    @property
    def states(self) -> list[FleetState]:
        """How each worker's nodes are."""
        return [process.state for process in self._processes]

    def longest_stall_s(self) -> float:
        """Return how late an event loop was at most since this was asked before."""
        longest_s = max(process.longest_stall_s for process in self._processes)
        for process in self._processes:
            process.longest_stall_s = 0.0
        return longest_s

    @property
    def fleet(self) -> FleetState:
        """How all nodes are."""
        return FleetState.of_all(self.states)

    async def until(self, is_so: Callable[[FleetState], bool], timeout_s: float) -> bool:
        """Wait until something is so of the fleet; return False if it is not in time.

        Raises LabError if a worker ends.
        """
        deadline_s = time.monotonic() + timeout_s
        while not is_so(self.fleet):
            if time.monotonic() > deadline_s:
                return False
            await self.next_states()
        return True

    async def next_states(self) -> None:
        """Wait for the next message of every worker. Raises LabError if one ends."""
        for process in self._processes:
            process.has_spoken.clear()
        for process in self._processes:
            while not process.has_spoken.is_set():
                process.check()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await process.has_spoken.wait()

    async def report(self) -> list[NodeReport]:
        """Return what each node did so far. Raises LabError."""
        reports = await asyncio.gather(*(process.report() for process in self._processes))
        return [node for report in reports for node in report]


async def _spawn(log: IO[bytes]) -> Process:
    # A process group of its own: Ctrl-C is the lab's to take, which then ends this one in order.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.lab.fleet.worker"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=log,
        limit=LINE_LIMIT_BYTES,
        process_group=0,
    )

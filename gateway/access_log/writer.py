"""Writes lines to a file or to standard output without ever holding up the event loop.

The loop collects lines for a moment and hands them in batches to a thread. What waits is bounded:
beyond that, lines are dropped and counted. A batch that cannot be written (a full disk, a pipe
that nobody reads) is tried again until it can, or until the node has stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from enum import Enum
from queue import SimpleQueue

import structlog

from gateway.settings import SettingError, named

_BATCH_LINES = 512
_HAND_OVER_S = 0.1
_RETRY_S = 1.0
_SILENCE_S = 10.0
_FLUSH_S = 2.0
_FAREWELL_S = 0.5
_MODE = 0o640
_STDOUT = 1

log = structlog.get_logger(__name__)


class WriterCounts:
    """Lines written and dropped since the start, and attempts to write that failed."""

    def __init__(self) -> None:
        self.written = 0
        self.dropped = 0
        self.failures = 0


class _Order(Enum):
    REOPEN = "reopen"
    END = "end"


class LineWriter:
    """A file to which whole lines are appended by a thread of its own; ``what`` they are called."""

    def __init__(
        self,
        path: str,
        buffer_bytes: int,
        *,
        what: str = "access log",
        mode: int = _MODE,
        opens_each_time: bool = False,
    ) -> None:
        """Write to ``path``, which is opened when there is something to write.

        An empty one means standard output. A file that is not there is made with ``mode``. With
        ``opens_each_time`` it is closed again as soon as nothing waits to be written.
        """
        self.counts = WriterCounts()
        self._path = path
        self._what = what
        self._mode = mode
        self._opens_each_time = opens_each_time
        self._descriptor = None if path else _STDOUT
        self._limit_bytes = buffer_bytes
        # Each only ever changed on one side, so that neither needs a lock:
        self._taken_bytes = 0  # by the loop
        self._done_bytes = 0  # by the thread
        self._batch: list[bytes] = []
        self._hand_over_at: asyncio.TimerHandle | None = None
        self._jobs: SimpleQueue[list[bytes] | _Order] = SimpleQueue()
        self._said_dropped_at = -_SILENCE_S
        self._problem = ""
        self._giving_up = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Open the file now.

        :raises SettingError: when it cannot be opened.
        """
        try:
            self._descriptor = self._opened()
        except OSError as error:
            name = named("access_log_path")
            raise SettingError(f"{name}: {self._path}: {error.strerror}") from error

    def start(self) -> None:
        """Begin to write."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, name=self._what.replace(" ", "-"), daemon=True
        )
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have a line written, with its newline, or count it as dropped."""
        if self._taken_bytes - self._done_bytes + len(line) > self._limit_bytes:
            self._drop()
            return
        self._taken_bytes += len(line)
        batch = self._batch
        batch.append(line)
        if len(batch) == _BATCH_LINES:
            self._hand_over()
        elif self._hand_over_at is None:
            self._hand_over_at = self._loop.call_later(_HAND_OVER_S, self._hand_over)

    def reopen(self) -> None:
        """Open the file anew: lines so far go to the old one, later ones to the new."""
        if self._path:
            self._hand_over()
            self._jobs.put(_Order.REOPEN)

    async def stop(self) -> None:
        """Write what waits, for a moment, and close the file."""
        if self._thread is not None:
            self._hand_over()
            self._jobs.put(_Order.END)
            if not await self._ends_within(_FLUSH_S):
                log.error(
                    self._event("lines are lost, as they could not be written before the end"),
                    bytes=self._taken_bytes - self._done_bytes,
                    problem=self._problem,
                )
                self._giving_up.set()
                if not await self._ends_within(_FAREWELL_S):
                    return  # it hangs in a write: the process will end it, and close the file
            self._thread.join()
        self._close()

    # -- on the loop

    def _hand_over(self) -> None:
        if self._hand_over_at is not None:
            self._hand_over_at.cancel()
            self._hand_over_at = None
        if self._batch:
            self._jobs.put(self._batch)
            self._batch = []

    def _drop(self) -> None:
        self.counts.dropped += 1
        now = time.monotonic()
        if now - self._said_dropped_at >= _SILENCE_S:
            self._said_dropped_at = now
            log.warning(
                self._event("lines are dropped: writing does not keep up"),
                dropped=self.counts.dropped,
                problem=self._problem,
            )

    async def _ends_within(self, timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        return self._ended.is_set()

    def _event(self, what_happens: str) -> str:
        return f"{self._what} {what_happens}"

    # -- in the thread

    def _run(self) -> None:
        while (job := self._jobs.get()) is not _Order.END:
            if isinstance(job, _Order):
                self._open_anew()
            else:
                self._write(job)
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._ended.set)

    def _write(self, batch: list[bytes]) -> None:
        left = memoryview(b"".join(batch))
        size = len(left)
        while left:
            try:
                if self._descriptor is None:
                    self._descriptor = self._opened()
                left = left[os.write(self._descriptor, left) :]
            except OSError as error:
                self._note_problem(error)
                if self._giving_up.wait(_RETRY_S):
                    return
        self._note_success()
        if self._opens_each_time:
            self._close()
        self._done_bytes += size
        self.counts.written += len(batch)

    def _open_anew(self) -> None:
        try:
            opened = self._opened()
        except OSError as error:
            log.error(  # noqa: TRY400 - the reason says it all
                self._event("cannot be opened anew: the old file is written on"),
                path=self._path,
                reason=error.strerror,
            )
        else:
            self._close()
            self._descriptor = opened

    def _note_problem(self, error: OSError) -> None:
        self.counts.failures += 1
        if not self._problem:
            self._problem = error.strerror or type(error).__name__
            where = self._path or "stdout"
            log.error(self._event("cannot be written"), path=where, reason=self._problem)

    def _note_success(self) -> None:
        if self._problem:
            self._problem = ""
            log.info(self._event("is written again"), path=self._path or "stdout")

    def _opened(self) -> int:
        """Open the file to append to. Raises OSError, also for a pipe that nobody reads."""
        if not self._path:
            return _STDOUT
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        # Without O_NONBLOCK, a pipe would block us here.
        descriptor = os.open(self._path, flags | os.O_NONBLOCK, self._mode)
        os.set_blocking(descriptor, True)
        return descriptor

    def _close(self) -> None:
        if self._path and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

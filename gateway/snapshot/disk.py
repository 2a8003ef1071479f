"""The disk copy: what a node starts from when its database is away.

It holds the rows of the version that the node serves. Each load is written to it beside being
applied, in a thread of its own: small ones once the snapshot is current, large ones piece by piece.
A disk that is full, slow or read-only never holds up an apply for long and never fails one; the
copy then misses a version, says so, and catches up with a later load.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import structlog

from gateway.entities import VERSIONED
from gateway.settings import NodeSettings, Role
from gateway.snapshot.disk_file import DiskCopyError, DiskFile, OutOfStepError
from gateway.store.source import Batch, FullLoadReason, Load, VersionMark
from gateway.sync.backoff import Backoff
from gateway.sync.source import Source

__all__ = ["CopiedSource", "DiskCopy", "DiskCopyError"]

DEADLINE_S = 30.0
"""For one answer of the disk."""

PATIENCE_S = 5.0
"""How long the disk may hold up one load, besides as long as the load takes without it."""

FAREWELL_S = 5.0
"""How long closing waits for what is still to be written."""

SYNC_AFTER_S = 1.0
"""After a version is written until it outlives even a power cut: many share the work of that."""

FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 300.0

PIECE_ROWS = 1000
"""Rows of a load that are held back until it is applied; larger ones are written as they come."""

PIECES_AHEAD = 4
"""Pieces that may wait for the disk before a load does."""

DELAY_S = 0.02
"""After an apply, until a small load is written: requests that waited for the apply go before."""

WAITING_ROWS = 10_000
"""Rows that may wait for the disk; beyond that a load is not copied."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class DiskCopy:
    """The copy of one node's configuration. ``problem`` says why it is not kept, if it is not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._file = DiskFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk-copy")
        self._jobs = 0
        self._waiting_rows = 0
        self._retry = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S)
        self._retry_at = 0.0
        self._syncing: asyncio.TimerHandle | None = None
        self._held_back: Callable[[], None] | None = None
        self._hand_over_at: asyncio.TimerHandle | None = None
        self._newest: VersionMark | None = None
        self._is_incomplete = False
        self._is_closed = False

    @classmethod
    def of(cls, settings: NodeSettings) -> DiskCopy | None:
        """Return the copy of the node with these settings, None if it is to have none.

        A control plane serves nothing itself, and its data planes have their own.
        """
        if not settings.snapshot_dir or settings.role is Role.CONTROL_PLANE:
            return None
        name = f"{quote(settings.node_name, safe='')}-{settings.proxy_port}.snapshot"
        return cls(Path(settings.snapshot_dir).expanduser() / name)

    @property
    def mark(self) -> VersionMark | None:
        """The version on disk, None if there is none that can be used."""
        return self._file.mark

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be written, or read."""
        return self._jobs > 0 or self._held_back is not None

    async def open(self) -> None:
        """Open the file and check it; what is wrong with it becomes the ``problem``."""
        job = self._submit(self._file.open)
        await asyncio.wait({job}, timeout=DEADLINE_S)
        if not job.done():
            self.note_problem(f"{self.path} could not be opened within {DEADLINE_S:g} s")

    async def close(self) -> None:
        """Write what waits, if the disk does not take too long, and close. May be repeated."""
        if self._is_closed:
            return
        self._hand_over()
        self._is_closed = True
        if self._syncing is not None:
            self._syncing.cancel()
        await asyncio.wait({self._submit(self._file.close)}, timeout=FAREWELL_S)
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- reading

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Open a load of everything. It and reading its batches raise DiskCopyError."""
        mark = self._file.mark
        if mark is None:
            raise DiskCopyError(
                self.problem or f"{self.path} holds no configuration that this release can read"
            )
        self._is_incomplete = self._file.is_foreign
        async with aclosing(self._batches()) as batches:
            read_at = datetime.now(UTC)
            yield Load("full", mark, mark.committed_at, read_at, batches, FullLoadReason.ASKED)

    async def _batches(self) -> AsyncGenerator[Batch]:
        for table in VERSIONED:
            rows, last = await self._answer(self._file.read, table, "")
            while rows:
                yield Batch(table, rows, [])
                rows, last = await self._answer(self._file.read, table, last)

    async def _answer(self, work: Callable[..., T], *arguments: Any) -> T:
        job = self._submit(work, *arguments)
        await asyncio.wait({job}, timeout=DEADLINE_S)
        if not job.done():
            raise DiskCopyError(f"{self.path} could not be read within {DEADLINE_S:g} s")
        return job.result()

    # -- writing

    def since(self, applied: VersionMark | None) -> VersionMark | None:
        """Return from where the next load must start to bring the copy along with the snapshot.

        From ``applied`` as a rule; now and then further back, to catch up on what was missed; from
        nothing after a start from the copy of another release.
        """
        if self._is_incomplete:
            return None
        held = None if self._file.is_foreign else self._file.mark
        is_due = time.monotonic() >= self._retry_at
        if applied is None or self.is_busy or held == applied or not is_due:
            return applied
        if not self._file.is_open:
            self._submit(partial(self._file.open, replace_corrupt=True))
            return applied
        return held if held is not None and held.epoch == applied.epoch else None

    def record(self, since: VersionMark | None, mark: VersionMark) -> Recording:
        """Begin to write a load that leads from ``since`` (None: from nothing) to ``mark``."""
        self._hand_over()
        self._newest = mark
        recording = Recording(self, self._file, since, mark)
        if self._waiting_rows > WAITING_ROWS:
            recording.give_up()
        return recording

    def note_applied(self, since: VersionMark | None) -> None:
        """Hear that a load from ``since`` is applied."""
        if since is None:
            self._is_incomplete = False

    def note_problem(self, problem: str) -> None:
        """Say once what is wrong; the copy is tried again after a while."""
        if problem != self.problem:
            _log.warning("the disk copy of the configuration is not kept", problem=problem)
        self.problem = problem
        self._retry_at = time.monotonic() + self._retry.next_s()

    def submit(
        self, work: Callable[[], VersionMark | None], rows: int
    ) -> asyncio.Future[VersionMark | None]:
        """Have rows written; the work returns the version that is complete with them, if one is."""
        self._waiting_rows += rows
        job = self._submit(work)
        job.add_done_callback(partial(self._note_done, rows))
        return job

    def hold_back(self, hand_over: Callable[[], None]) -> None:
        """Have something handed over a little later, but before anything else is recorded."""
        self._held_back = hand_over
        self._hand_over_at = asyncio.get_running_loop().call_later(DELAY_S, self._hand_over)

    def _hand_over(self) -> None:
        hand_over, self._held_back = self._held_back, None
        if hand_over is not None and self._hand_over_at is not None:
            self._hand_over_at.cancel()
            hand_over()

    def _note_done(self, rows: int, job: asyncio.Future[VersionMark | None]) -> None:
        self._waiting_rows -= rows
        written = None if job.cancelled() or job.exception() else job.result()
        if written is None:
            return
        self._sync_soon()
        if self.problem is not None and written == self._newest:
            _log.info("the disk copy of the configuration is kept again", path=str(self.path))
            self.problem = None
            self._retry.reset()

    def _sync_soon(self) -> None:
        if self._syncing is None and not self._is_closed:
            loop = asyncio.get_running_loop()
            self._syncing = loop.call_later(SYNC_AFTER_S, self._sync)

    def _sync(self) -> None:
        self._syncing = None
        self._submit(self._file.sync)

    def _submit(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Have work done in the thread. It goes on even if nobody waits for it any more."""
        self._jobs += 1
        job = asyncio.wrap_future(self._thread.submit(work, *arguments))
        job.add_done_callback(self._finish)
        return job

    def _finish(self, job: asyncio.Future[Any]) -> None:
        self._jobs -= 1
        error = None if job.cancelled() else job.exception()
        if isinstance(error, DiskCopyError):
            if not isinstance(error, OutOfStepError):  # follows from a problem already named
                self.note_problem(str(error))
        elif error is not None:
            _log.error("the disk copy failed", exc_info=error)
            self.note_problem(f"{self.path}: {error!r}")


class Recording:
    """What one load writes. Nothing of it stays unless it is committed."""

    def __init__(
        self, disk: DiskCopy, file: DiskFile, since: VersionMark | None, mark: VersionMark
    ) -> None:
        self._disk = disk
        self._file = file
        self._since = since
        self._mark = mark
        self._held: list[Batch] = []
        self._held_rows = 0
        self._ahead: deque[asyncio.Future[VersionMark | None]] = deque()
        self._has_begun = False
        self._began = time.monotonic()
        self._waited_s = 0.0
        self._is_over = False

    async def add(self, batch: Batch) -> None:
        """Take a batch; waits for the disk when it is behind, but not for long."""
        if self._is_over:
            return
        self._held.append(batch)
        self._held_rows += len(batch.rows) + len(batch.deleted)
        if self._held_rows >= PIECE_ROWS:
            await self._wait_for_the_disk()
            if not self._is_over:
                self._hand_over()

    def commit(self) -> None:
        """Hand over the rest: the version is complete. Does not wait."""
        if self._is_over:
            return
        if self._has_begun:
            self._hand_over(is_last=True)
        else:
            self._disk.hold_back(partial(self._hand_over, is_last=True))
        self._is_over = True

    def rollback(self) -> None:
        """Drop the version."""
        if self._has_begun and not self._is_over:
            self._disk.submit(self._roll_back, 0)
        self._is_over = True
        self._held.clear()

    def give_up(self) -> None:
        """Drop the version, as the disk is too slow for it."""
        self.rollback()
        self._disk.note_problem(f"{self._disk.path} is written too slowly: the disk is too busy")

    async def _wait_for_the_disk(self) -> None:
        while len(self._ahead) > PIECES_AHEAD:
            began = time.monotonic()
            patience_s = PATIENCE_S + (began - self._began) - 2 * self._waited_s
            await asyncio.wait({self._ahead[0]}, timeout=patience_s)
            self._waited_s += time.monotonic() - began
            if not self._ahead.popleft().done():
                self.give_up()
                return

    def _hand_over(self, *, is_last: bool = False) -> None:
        batches, rows, is_first = self._held, self._held_rows, not self._has_begun
        self._held, self._held_rows, self._has_begun = [], 0, True
        work = partial(self._write, batches, is_first=is_first, is_last=is_last)
        self._ahead.append(self._disk.submit(work, rows))

    # -- in the thread

    def _write(self, batches: list[Batch], *, is_first: bool, is_last: bool) -> VersionMark | None:
        if is_first:
            self._file.begin(self._since)
        for batch in batches:
            self._file.put(batch)
        if not is_last:
            return None
        self._file.commit(self._mark)
        return self._mark

    def _roll_back(self) -> None:
        self._file.rollback()


class CopiedSource:
    """A source whose loads, once they have been applied, are also on disk."""

    def __init__(self, source: Source, disk: DiskCopy) -> None:
        self._source = source
        self._disk = disk

    async def seen(self) -> VersionMark:
        """Return the newest version. Raises StoreError."""
        return await self._source.seen()

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Load | None]:
        """Open a load, maybe of more than was asked for. Raises StoreError.

        To leave the block without an error means that the load has been applied.
        """
        start = self._disk.since(since)
        async with self._source.load(start) as load:
            if load is None:
                yield None
                return
            start = None if load.kind == "full" else start
            recording = self._disk.record(start, load.mark)
            try:
                async with aclosing(_recorded(load.batches, recording)) as batches:
                    yield replace(load, batches=batches)
            except BaseException:
                recording.rollback()
                raise
            recording.commit()
            self._disk.note_applied(start)

    async def close(self) -> None:
        """Let go of connections."""
        await self._source.close()


async def _recorded(batches: AsyncIterator[Batch], recording: Recording) -> AsyncGenerator[Batch]:
    async for batch in batches:
        await recording.add(batch)
        yield batch

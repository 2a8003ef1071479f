"""The sync loop: asks the database whether there is a newer version, and has it applied.

It asks at an interval, when the strategy wakes it, and when somebody must know now. Whatever fails
is said once and tried again; the last good snapshot stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar

import structlog

from gateway.settings import NodeSettings
from gateway.store.errors import StoreError, StoreUnavailable
from gateway.store.source import Batch, FullLoadReason, Load
from gateway.sync.backoff import Backoff, at_random_within_s, jittered_s
from gateway.sync.source import Source
from gateway.sync.status import SyncState, SyncStatus
from gateway.sync.strategy import SyncStrategy
from gateway.sync.supervisor import StrategySupervisor
from gateway.sync.watchdog import Overdue, finish

LEAST_RETRY_S = 0.05
"""No wake, however frequent, makes a failing loop try more often than this."""

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 5.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Applier(Protocol):
    """Where versions go to: the snapshot."""

    async def apply(self, load: Load) -> None:
        """Build the next snapshot and make it current; raising leaves the old one."""
        ...


class SyncFailedError(Exception):
    """The sync that somebody waited for did not succeed."""


_STOPPED = "the sync loop has stopped"


class SyncLoop:
    """Keeps a node at the newest version; reports into ``status``."""

    def __init__(
        self,
        source: Source,
        strategy: SyncStrategy,
        applier: Applier,
        settings: NodeSettings,
        status: SyncStatus,
    ) -> None:
        self._source = source
        self._applier = applier
        self._settings = settings
        self._status = status
        self._supervisor = StrategySupervisor(strategy, status, self._ask_soon)
        self._retry = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S)
        self._due = asyncio.Event()
        self._is_urgent = asyncio.Event()
        self._gap_ends = 0.0
        self._waiting: asyncio.Future[Exception | None] | None = None
        self._has_stopped = False
        self._must_load_everything = False

    async def first_load(self) -> None:
        """Load and apply everything. Raises StoreError, and what the applier raises."""
        began = time.monotonic()
        await self._sync()
        self._note_success(began)

    async def run(self) -> None:
        """Keep the node at the newest version until cancelled."""
        supervisor = asyncio.create_task(self._supervisor.run(), name="sync-strategy-supervisor")
        try:
            # The first interval is cut short by chance, so that nodes started together spread out.
            await self._wait(at_random_within_s(self._settings.poll_interval_s))
            while True:
                was_asked = self._due.is_set()
                error = await self._sync_for_all_who_wait(was_asked=was_asked)
                if error:
                    await asyncio.sleep(LEAST_RETRY_S)
                await self._wait(self._pause_s(error, was_asked=was_asked))
        finally:
            self._has_stopped = True
            _answer(self._waiting, SyncFailedError(_STOPPED))
            self._waiting = None
            supervisor.cancel()
            await asyncio.wait({supervisor})

    async def sync_now(self) -> None:
        """Return when everything committed before this call is applied.

        Callers share one question, which is asked after the last of them called; before ``run``
        they wait for that. Raises SyncFailedError.
        """
        if self._has_stopped:
            raise SyncFailedError(_STOPPED)
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        self._due.set()
        self._is_urgent.set()
        error = await asyncio.shield(self._waiting)
        if error:
            raise SyncFailedError(str(error)) from error

    # -- when to ask

    def _ask_soon(self) -> None:
        self._due.set()

    async def _wait(self, pause_s: float) -> None:
        """Wait until the pause is over or somebody wants to know earlier.

        What was announced right after an apply waits for more of the same, within the gap; who
        asked to know now does not.
        """
        await _is_set_within(self._due, pause_s)
        await _is_set_within(self._is_urgent, self._gap_ends - time.monotonic())

    def _pause_s(self, error: Exception | None, *, was_asked: bool) -> float:
        """Return when to ask next. All nodes are woken at once, so after that they spread anew."""
        if error:
            return self._retry.next_s()
        self._retry.reset()
        interval_s = self._settings.poll_interval_s
        return at_random_within_s(interval_s) if was_asked else jittered_s(interval_s)

    async def _sync_for_all_who_wait(self, *, was_asked: bool) -> Exception | None:
        """Sync once. Who asks from now on waits for the next one: this may miss their change."""
        waiting = self._waiting
        applies_before = self._status.applies
        self._due.clear()
        self._is_urgent.clear()
        self._waiting = None
        error: Exception | None = SyncFailedError(_STOPPED)
        try:
            error = await self._try_to_sync()
        finally:
            _answer(waiting, error)
        if not was_asked and self._status.applies > applies_before:
            self._supervisor.note_found_by_polling()
        return error

    # -- one sync

    async def _try_to_sync(self) -> Exception | None:
        began = time.monotonic()
        try:
            await self._sync()
        except Exception as error:  # noqa: BLE001 - the loop survives whatever it is
            self._note_failure(error)
            return error
        self._note_success(began)
        return None

    async def _sync(self) -> None:
        self._status.syncs += 1
        mark = await self._ask(self._source.seen(), "sync-question")
        self._status.seen_version = mark.version
        # The source may have to add to what was loaded from disk, though the version is the same.
        is_uncertain = self._must_load_everything or self._status.loaded_from_disk
        if mark != self._status.applied or is_uncertain:
            await self._load()

    async def _load(self) -> None:
        since = None if self._must_load_everything else self._status.applied
        asked = time.monotonic()
        async with AsyncExitStack() as stack:
            opening = stack.enter_async_context(self._source.load(since))
            load = await self._ask(opening, "sync-load")
            if load is not None:
                self._say_why_everything_is_loaded(load)
                await self._apply(load, asked)

    async def _apply(self, load: Load, asked: float) -> None:
        """Apply a load that was asked for then. What fails or hangs leaves everything as it was."""
        began = time.monotonic()
        try:
            await self._finish_apply(load)
        except (StoreError, Overdue):
            raise
        except Exception:
            # Maybe the changes do not fit what is there: start from nothing next time.
            self._must_load_everything = True
            raise
        now = time.monotonic()
        self._must_load_everything = False
        self._gap_ends = now + self._settings.apply_gap_s
        self._note_applied(load, duration_s=now - began, since_asked_s=now - asked)

    async def _finish_apply(self, load: Load) -> None:
        """Have a load applied. Changes may be very many: each batch of them gets the timeout."""
        settings = self._settings
        if load.kind == "full":
            await finish(self._applier.apply(load), "sync-apply", settings.full_load_timeout_s)
        else:
            load.batches = batches = _Noted(load.batches)
            await finish(
                self._applier.apply(load),
                "sync-apply",
                settings.sync_timeout_s,
                lambda: batches.read_at,
            )

    async def _ask(self, question: Coroutine[Any, Any, T], name: str) -> T:
        try:
            return await finish(question, name, self._settings.sync_timeout_s)
        except Overdue as error:
            raise StoreUnavailable(str(error)) from error

    # -- what came of it

    def _note_applied(self, load: Load, *, duration_s: float, since_asked_s: float) -> None:
        """Move the mark.

        The stale window is on the database's clock up to the load, then ours. When exactly the
        database read its clock we do not know, so the time of the question is in it twice at most.
        """
        status = self._status
        is_first = status.applied is None or status.loaded_from_disk
        status.applied = load.mark
        status.seen_version = load.mark.version
        status.applies += 1
        status.full_loads += load.kind == "full"
        status.last_apply_s = duration_s
        stale_s = (load.read_at - load.oldest_committed_at).total_seconds() + since_asked_s
        propagation_s = None if is_first or load.kind == "full" else stale_s
        if propagation_s is not None:
            status.last_propagation_s = propagation_s
        self._tell_observers(duration_s, propagation_s)
        _log.debug("applied", version=load.mark.version, kind=load.kind, duration_s=duration_s)

    def _tell_observers(self, duration_s: float, propagation_s: float | None) -> None:
        try:
            self._status.observe_apply(duration_s, propagation_s)
            for observer in self._status.on_applied:
                observer()
        except Exception:  # noqa: BLE001 - theirs must not be the loop's problem
            _log.exception("an observer of applies failed")

    def _note_failure(self, error: Exception) -> None:
        status, before = self._status, self._status.state
        is_database = isinstance(error, StoreError)
        status.state = SyncState.DATABASE_UNAVAILABLE if is_database else SyncState.FAILING
        status.failures += 1
        status.last_error = str(error) or type(error).__name__
        if status.state is not before:
            _log.error(
                "sync fails, the last good configuration stays",
                state=status.state.value,
                error=status.last_error,
                exc_info=None if is_database else error,
            )

    def _note_success(self, began: float) -> None:
        """Note that what is served was the newest at ``began``, or is newer."""
        status, before = self._status, self._status.state
        status.state = SyncState.SYNCED
        status.last_success = began
        status.loaded_from_disk = False
        status.last_error = None
        if before not in (SyncState.STARTING, SyncState.SYNCED):
            version = status.applied.version if status.applied else None
            _log.info("sync works again", version=version)

    def _say_why_everything_is_loaded(self, load: Load) -> None:
        applied = self._status.applied
        if load.reason in (None, FullLoadReason.ASKED) or applied is None:
            return
        say = _log.info if load.reason is FullLoadReason.LOG_TOO_SHORT else _log.warning
        say(
            "loading the whole configuration",
            reason=load.reason.value,
            applied_version=applied.version,
            database_version=load.mark.version,
        )


class _Noted:
    """Batches on their way; ``read_at`` is when the last was read, by the monotonic clock."""

    def __init__(self, batches: AsyncIterator[Batch]) -> None:
        self._batches = batches
        self.read_at = time.monotonic()

    def __aiter__(self) -> _Noted:
        return self

    async def __anext__(self) -> Batch:
        batch = await anext(self._batches)
        self.read_at = time.monotonic()
        return batch


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> None:
    if timeout_s <= 0:
        return
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass


def _answer(waiting: asyncio.Future[Exception | None] | None, error: Exception | None) -> None:
    if waiting is not None:
        waiting.set_result(error)

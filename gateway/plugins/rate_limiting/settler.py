"""Settles counts with where they are added up, beside the requests.

One thing is told after the other, many counts at a time, with a pause in between that grows with
the number of nodes: however many there are, together they ask no more than so often. While the
place cannot be reached, it is tried now and then, and whoever asks is told at once.

Windows go by the clock of the place, so that all nodes are in the same one: each answer says what
time it is there, between the moments of asking and of the answer. Nothing is counted there before
that is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import monotonic, time

import structlog

from gateway.plugins.contract import NodeServices
from gateway.plugins.counter_store import Count, CounterStore, CounterStoreError, Totals
from gateway.plugins.rate_limiting.counters import Window
from gateway.plugins.rate_limiting.ledger import Ledger

MOST_AT_ONCE = 200
"""Counts that are told together: more would hold up the requests."""

MOST_PER_S = 500
"""How often all nodes together tell, in a second."""

RETRY_S = 1.0
_IDLE_S = 60.0
_FAREWELL_S = 1.0

_log = structlog.get_logger(__name__)


class Settler:
    """The way to one ``store``, for as long as somebody uses it.

    ``pause_s`` is the least pause between two settlements, ``patience_s`` how long an answer may
    take. One that ``is_thorough`` tells each time all there is, one after the other, not just some.
    ``clock`` tells the seconds since the epoch. While it ``is_away``, the place cannot be reached.
    """

    def __init__(
        self,
        node: NodeServices,
        store: CounterStore,
        *,
        pause_s: float,
        patience_s: float,
        is_thorough: bool = False,
        clock: Callable[[], float] = time,
    ) -> None:
        self.is_away = False
        self._node = node
        self._store = store
        self._pause_s = pause_s
        self._patience_s = patience_s
        self._is_thorough = is_thorough
        self._clock = clock
        self._offset_s = 0.0
        self.knows_the_time = False
        self._problem = ""
        self._try_again_at = 0.0
        self._users = 0
        self.is_running = False
        self._work = asyncio.Event()
        self.ledger = Ledger(self.now, self._work.set)

    def now(self) -> float:
        """Return the time where the counters are, in seconds since the epoch."""
        return self._clock() + self._offset_s

    def enter(self) -> None:
        """Work for one more, until `leave`."""
        self._users += 1
        self._work.set()
        if not self.is_running:
            self.is_running = True
            self._node.begin(f"counting in {self._store.place}", self._run())

    def leave(self) -> None:
        """Hear that somebody needs it no more."""
        self._users -= 1
        self._work.set()

    async def add(self, counts: Sequence[Count]) -> Totals:
        """Add to counters, and wait for what they are at then. Raises CounterStoreError."""
        if self.is_away:
            if monotonic() < self._try_again_at:
                raise CounterStoreError(self._problem)
            self._try_again_at = monotonic() + RETRY_S  # nobody else tries meanwhile
        asked_at = self._clock()
        try:
            async with asyncio.timeout(self._patience_s):
                totals = await self._store.add(counts)
        except CounterStoreError as error:
            self._note_away(str(error))
            raise
        except TimeoutError:
            self._note_away(f"no answer within {self._patience_s:g} s")
            raise CounterStoreError(self._problem) from None
        self._note_there()
        earliest, latest = totals.now - self._clock(), totals.now - asked_at
        self._offset_s = min(max(self._offset_s, earliest), latest)
        self.knows_the_time = True
        return totals

    # -- in the background

    async def _run(self) -> None:
        """Settle for as long as somebody needs it, and a while longer."""
        sweeping = asyncio.create_task(self.ledger.counters.sweep(), name="sweep-counters")
        try:
            while await self._is_needed():
                await self._settle_undisturbed()
                await asyncio.sleep(self._pause())
                if self.is_away or self.ledger.untold:
                    self._work.set()
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    while self.ledger.untold and not self.is_away:
                        await self._settle()
            raise
        finally:
            self.is_running = False
            sweeping.cancel()
            await self._store.close()

    async def _settle_undisturbed(self) -> None:
        """Settle, to the end if cancelled meanwhile: cut short, it might be told a second time."""
        settling = asyncio.create_task(self._settle(), name="settle-counts")
        try:
            await asyncio.shield(settling)
        except asyncio.CancelledError:
            await asyncio.wait({settling}, timeout=_FAREWELL_S)
            settling.cancel()
            raise

    async def _is_needed(self) -> bool:
        """Wait for work; tell whether there is anybody to work for."""
        try:
            async with asyncio.timeout(None if self._users else _IDLE_S):
                await self._work.wait()
        except TimeoutError:
            return self._users > 0
        self._work.clear()
        return True

    async def _settle(self) -> None:
        """Tell some of what is to be told, or all of it, and hear the answers."""
        if self.is_away or not self.knows_the_time:
            await self._tell([])
        for _ in range(1 + self.ledger.untold // MOST_AT_ONCE if self._is_thorough else 1):
            if self.knows_the_time and not self.is_away:
                await self._tell(self.ledger.take(MOST_AT_ONCE))

    async def _tell(self, told: Sequence[tuple[Window, Count]]) -> None:
        with contextlib.suppress(CounterStoreError):
            totals = await self.add([count for _, count in told])
            self.ledger.book(told, totals)

    def _pause(self) -> float:
        return RETRY_S if self.is_away else max(self._pause_s, self.ledger.nodes / MOST_PER_S)

    def _note_away(self, problem: str) -> None:
        self._problem = problem
        self._try_again_at = monotonic() + RETRY_S
        if not self.is_away:
            self.is_away = True
            _log.warning("counters cannot be reached", place=self._store.place, reason=problem)

    def _note_there(self) -> None:
        if self.is_away:
            self.is_away = False
            _log.info("counters can be reached again", place=self._store.place)

"""How often who has asked in the current window of each period: the memory of one node.

Each scope of a plugin has windows of its own, and keeps them while its config changes. A window
whose time is over hands its counts over to be freed, a few at a time: there may be very many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain
from time import time

from gateway.plugins.counter_store import Count, Key, ScopeKey
from gateway.plugins.rate_limiting.periods import Period

MOST_KEYS = 500_000
"""Counts that a node keeps, some 150 bytes each. Room for one more is then made in the largest
window, by forgetting who came there last: a flood of newcomers makes nobody's count start anew."""

_FREED_AT_ONCE = 1000
_SWEEP_EVERY_S = 1.0


class Window:
    """The counts of one period of one scope, from ``start`` until ``end``, by who is counted.

    ``unsettled`` is what other nodes have not heard of, where several count together.
    """

    __slots__ = ("counts", "end", "period", "scope", "start", "unsettled")

    def __init__(self, scope: ScopeKey, period: Period, now: float) -> None:
        self.scope = scope
        self.period = period
        self.start, self.end = period.window_at(now)
        self.counts: dict[Key, int] = {}
        self.unsettled: dict[Key, int] = {}

    def so_many(self, key: Key, amount: int) -> Count:
        """Return what tells others of an amount for somebody."""
        period = self.period
        return Count(self.scope, key, period.name, period.length_s, self.start, self.end, amount)


class Scope:
    """The windows of one scope; ``users`` are the objects that count there.

    All of them are right from ``began_at`` until ``turns_at``.
    """

    __slots__ = ("_counters", "_key", "began_at", "turns_at", "users", "windows")

    def __init__(self, counters: Counters, key: ScopeKey) -> None:
        self._counters = counters
        self._key = key
        self.windows: dict[Period, Window] = {}
        self.users = 0
        self.began_at = 0.0
        self.turns_at = float("inf")

    def window(self, period: Period) -> Window:
        """Return the window of a period."""
        if period not in self.windows:
            self.windows[period] = Window(self._key, period, self._counters.clock())
            self._note_times()
        return self.windows[period]

    def turn(self, now: float) -> None:
        """Begin those windows anew whose time is over, or has not come: clocks are set back."""
        if self.began_at <= now < self.turns_at:
            return
        for window in self.windows.values():
            if not window.start <= now < window.end:
                self._counters.retire(window)
                window.start, window.end = window.period.window_at(now)
        self._note_times()

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with it."""
        return not self.users and not any(window.counts for window in self.windows.values())

    def _note_times(self) -> None:
        self.began_at = max(window.start for window in self.windows.values())
        self.turns_at = min(window.end for window in self.windows.values())


class Counters:
    """All scopes of a node; ``clock`` tells the seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time, most_keys: int = MOST_KEYS) -> None:
        self.clock = clock
        self._most_keys = most_keys
        self._scopes: dict[ScopeKey, Scope] = {}
        self._retired: list[dict[Key, int]] = []
        self.keys = 0

    def enter(self, key: ScopeKey) -> Scope:
        """Return a scope to somebody who counts there until `leave`."""
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(self, key)
        scope.users += 1
        return scope

    def leave(self, key: ScopeKey) -> None:
        """Hear that somebody has ceased to count in a scope."""
        self._scopes[key].users -= 1

    def add(self, window: Window, key: Key, amount: int) -> None:
        """Count so much for somebody."""
        counts = window.counts
        if key in counts:
            counts[key] += amount
        else:
            self.admit()
            counts[key] = amount

    def admit(self) -> None:
        """Make sure of room for one more count, which is added next."""
        if self.keys >= self._most_keys:
            self._forget_some()
        self.keys += 1

    def take_back(self, window: Window, key: Key) -> None:
        """Count one less, if that was not forgotten meanwhile to make room."""
        counted = window.counts.get(key, 0)
        if counted > 1:
            window.counts[key] = counted - 1
        elif counted:
            del window.counts[key]
            self.keys -= 1

    def retire(self, window: Window) -> None:
        """Take the counts of a window whose time is over."""
        if window.counts:
            self.keys -= len(window.counts)
            self._retired += filter(None, (window.counts, window.unsettled))
            window.counts, window.unsettled = {}, {}

    async def sweep(self) -> None:
        """Free what is over, time and again."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            self.turn_all(self.clock())
            for _ in iter(self.free_some, False):
                await asyncio.sleep(0)

    def turn_all(self, now: float) -> None:
        """Begin new windows where nobody asks any more; scopes that nobody needs are dropped."""
        for key, scope in list(self._scopes.items()):
            scope.turn(now)
            if scope.is_idle:
                del self._scopes[key]
        # Counted anew: a request under way may have been counted in a scope that was dropped.
        self.keys = sum(_size(window) for window in self._windows())

    def free_some(self) -> bool:
        """Free some of the retired counts; return whether there are more."""
        if self._retired:
            counts = self._retired[-1]
            for _ in range(min(_FREED_AT_ONCE, len(counts))):
                counts.popitem()
            if not counts:
                self._retired.pop()
        return bool(self._retired)

    def _forget_some(self) -> None:
        """Forget at most half of the largest window, the latest first."""
        window = max(self._windows(), key=_size)
        forgotten = min(_FREED_AT_ONCE, -(-len(window.counts) // 2))
        for _ in range(forgotten):
            key, _ = window.counts.popitem()
            window.unsettled.pop(key, None)
        self.keys -= forgotten

    def _windows(self) -> Iterator[Window]:
        return chain.from_iterable(scope.windows.values() for scope in self._scopes.values())


def _size(window: Window) -> int:
    return len(window.counts)

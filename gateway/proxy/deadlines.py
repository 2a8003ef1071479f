"""Deadlines without a timer per request: a coarse wheel swept by one timer.

Setting a deadline on the hot path is one attribute store. An item sits in the slot of the tick in
which it was last looked at; when that slot comes up and the item's deadline has moved on, the item
moves with it. Only a deadline that is nearer than its slot costs a move at once.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

NEVER = math.inf


class Expiring(Protocol):
    """Something that must not wait for ever.

    ``deadline`` and ``slot_at`` are times of the event loop's clock; both are NEVER at first, and
    only the wheel writes ``slot_at``.
    """

    deadline: float
    slot_at: float

    def on_deadline(self) -> None:
        """Act on a deadline that has passed."""
        ...


class DeadlineWheel:
    """Calls ``on_deadline`` of each watched item after its deadline, about a tick late at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_s: float = 0.05) -> None:
        self._loop = loop
        self._tick_s = tick_s
        self._slots: dict[int, set[Expiring]] = {}
        self._next_tick = int(loop.time() / tick_s)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to sweep."""
        self._timer = self._loop.call_later(self._tick_s, self._sweep)

    def stop(self) -> None:
        """Sweep no more."""
        if self._timer is not None:
            self._timer.cancel()

    def expire_in(self, item: Expiring, after_s: float) -> None:
        """Let ``item`` expire in so many seconds, unless it is given another deadline."""
        item.deadline = self._loop.time() + after_s
        if item.deadline < item.slot_at:
            self.watch(item)

    def watch(self, item: Expiring) -> None:
        """Notice ``item.deadline``. Needed only when it is nearer than ``item.slot_at``."""
        if item.deadline == NEVER:
            return
        self.forget(item)
        tick = max(int(item.deadline / self._tick_s) + 1, self._next_tick)
        item.slot_at = tick * self._tick_s
        self._slots.setdefault(tick, set()).add(item)

    def forget(self, item: Expiring) -> None:
        """Stop watching ``item``."""
        if item.slot_at != NEVER:
            slot = self._slots.get(round(item.slot_at / self._tick_s))
            if slot is not None:
                slot.discard(item)
            item.slot_at = NEVER

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(self._tick_s, self._sweep)
        now = self._loop.time()
        current_tick = int(now / self._tick_s)
        for tick in range(self._next_tick, current_tick + 1):
            self._next_tick = tick + 1
            for item in self._slots.pop(tick, ()):
                item.slot_at = NEVER
                if item.deadline <= now:
                    self._loop.call_soon(self._expire, item)
                else:
                    self.watch(item)

    def _expire(self, item: Expiring) -> None:
        if item.deadline > self._loop.time():
            self.watch(item)  # something happened between the sweep and this call
        else:
            item.on_deadline()

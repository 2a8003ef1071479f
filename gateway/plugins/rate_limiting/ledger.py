"""Counts that several nodes have in common, as far as one of them knows.

What a node lets pass it adds to what it knows, and tells later where all are added up; from there
it hears what the others have let pass. Until then it may only let so much pass of anybody: its
share of what is left, or `AHEAD_AT_LEAST` if that is more. With N nodes that serve in a window, it
follows that

    at most ``limit + (N - 1) * max(ceil(limit / N), AHEAD_AT_LEAST)`` requests pass.

For let T be the last total below the limit that any node hears, and A that node. A stops once T and
what it has let pass since come to the limit; the others stop when they hear the next total, and
have until then let pass no more than each may. A node that dies takes with it what it had not told,
which again is no more than that; one that takes its place counts as one more node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from gateway.plugins.counter_store import Count, Key, Totals
from gateway.plugins.rate_limiting.counters import Counters, Window

AHEAD_AT_LEAST = 10
"""Requests of somebody that a node lets pass before it hears of those elsewhere, if so many are
left: a few at the same time shall not be refused where limits are small."""

MOST_KEYS = 200_000
"""Counts that a node keeps in common with others."""


_UNKNOWN = 1_000_000
"""Nodes, until their number is known: rather too many."""


class Ledger:
    """What is known of all nodes, and what is still to be told.

    ``clock`` is the common one, ``has_work`` is called when there is something to tell. ``nodes``
    is how many count.
    """

    def __init__(
        self, clock: Callable[[], float], has_work: Callable[[], None], most_keys: int = MOST_KEYS
    ) -> None:
        self.counters = Counters(clock, most_keys)
        self.nodes = _UNKNOWN
        self._has_work = has_work
        self._untold: dict[Window, None] = {}

    @property
    def untold(self) -> int:
        """How many counts are to be told."""
        return sum(len(window.unsettled) for window in self._untold)

    def may_go_ahead(self, window: Window, key: Key, left: int) -> bool:
        """Tell whether one more may pass before the others are heard, if so many are left."""
        ahead = window.unsettled.get(key)
        if not ahead:
            return True
        return ahead < max(-(-(left + ahead) // self.nodes), AHEAD_AT_LEAST)

    def count(self, window: Window, key: Key, amount: int = 1) -> None:
        """Count for somebody; with an amount of 0, only ask what the others have counted."""
        self.counters.add(window, key, amount)
        unsettled = window.unsettled
        if not unsettled:
            self._untold[window] = None
            self._has_work()
        unsettled[key] = unsettled.get(key, 0) + amount

    def take(self, most: int) -> list[tuple[Window, Count]]:
        """Return what is to be told next; it stays untold until it is `book`ed."""
        return list(islice(self._take(), most))

    def _take(self) -> Iterator[tuple[Window, Count]]:
        for window in list(self._untold):
            if not window.unsettled:
                del self._untold[window]
            for key, amount in window.unsettled.items():
                yield window, window.so_many(key, amount)

    def book(self, told: Sequence[tuple[Window, Count]], totals: Totals) -> None:
        """Take note that something has been told, and what the counters are at."""
        self.nodes = max(1, totals.nodes)
        for (window, count), total in zip(told, totals.counted, strict=True):
            if window.start == count.start:
                _settle(window, count, total)
        for window in {window: None for window, _ in told}:  # whose turn it was comes last
            del self._untold[window]
            self._untold[window] = None


def _settle(window: Window, count: Count, total: int | None) -> None:
    key, unsettled = count.key, window.unsettled
    if key not in unsettled:  # it was forgotten meanwhile
        return
    later = max(0, unsettled.pop(key) - count.amount)
    if later:
        unsettled[key] = later
    if total is not None:
        window.counts[key] = total + later

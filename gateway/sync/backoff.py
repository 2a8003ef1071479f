"""How long to wait before the next try or question: by chance, so that nodes spread out."""
# ruff: noqa: S311 - chance spreads load here, it hides nothing

from __future__ import annotations

import random


class Backoff:
    """Delays that double from ``first_s`` up to ``longest_s``, each shortened by chance.

    Up to a half: a mass of nodes, all of which lost the same database, must not come back at once.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    def next_s(self) -> float:
        """Return the delay after one more failure, in seconds."""
        delay_s = min(self._first_s * 2.0**self._failures, self._longest_s)
        self._failures = min(self._failures + 1, 32)
        return delay_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin anew after a success."""
        self._failures = 0


def jittered_s(interval_s: float) -> float:
    """Return between 0.8 and 1 times the interval: never longer, as intervals are promises."""
    return interval_s * random.uniform(0.8, 1.0)


def at_random_within_s(interval_s: float) -> float:
    """Return anything up to the interval: after something that happened to all nodes at once."""
    return interval_s * random.random()

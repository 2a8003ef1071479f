"""Weighted round-robin: over a full turn, shares are exactly proportional to the weights.

Source: ``balancer.md`` section 3. A full turn is ``sum(weights) / gcd(weights)`` picks. It is never
laid out as a wheel, whose size would explode with coprime weights; cost and memory follow the
number of targets. Each balancer starts somewhere else, so that nodes do not march in step.

A retry takes no turn: it is drawn by weight from the targets that have not failed. If it took one,
each request that failed on a target would spend the turn of a good one, until most first tries
went to the target that fails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import cycle
from math import gcd
from random import choices, random, randrange
from typing import Generic, TypeVar

T = TypeVar("T")


class WeightedRoundRobin(Generic[T]):
    """A balancer over (target, weight) pairs; a target of weight 0 is never picked."""

    __slots__ = ("_next", "_targets", "_weights")

    def __init__(self, targets: Sequence[tuple[T, int]]) -> None:
        self._targets = tuple(target for target, weight in targets if weight > 0)
        self._weights = tuple(weight for _, weight in targets if weight > 0)
        self._next = _turns(self._weights).__next__ if self._weights else None

    def pick(self, exclude: Collection[object] = ()) -> T | None:
        """Return the next target, None if there is none; see `Balancer.pick`."""
        if self._next is None:
            return None
        left = [i for i, t in enumerate(self._targets) if t not in exclude] if exclude else ()
        if not left:
            return self._targets[self._next()]
        weights = [self._weights[index] for index in left]
        return self._targets[choices(left, weights)[0]]  # noqa: S311 - spreads load only


def _turns(weights: Sequence[int]) -> Iterator[int]:
    """Return an endless iterator over indices, each as often as its weight says."""
    if len(set(weights)) > 1:
        return _ProportionalTurns(weights)
    start = randrange(len(weights))  # noqa: S311 - spreads load only
    return cycle((*range(start, len(weights)), *range(start)))


class _ProportionalTurns:
    """Indices by earliest deadline first.

    In each turn, index ``i`` has ``weight[i]`` deadlines, evenly spaced from a phase of its own.
    """

    __slots__ = ("_heap", "_phases", "_served", "_weights")

    def __init__(self, weights: Sequence[int]) -> None:
        divisor = gcd(*weights)
        self._weights = [weight // divisor for weight in weights]
        self._phases = [random() for _ in weights]  # noqa: S311 - spreads load only
        self._served = [0] * len(weights)
        self._heap = [self._deadline(0, index) for index in range(len(weights))]
        heapify(self._heap)

    def __iter__(self) -> _ProportionalTurns:
        return self

    def __next__(self) -> int:
        turn, _, index = self._heap[0]
        self._served[index] += 1
        if self._served[index] == self._weights[index]:
            self._served[index] = 0
            turn += 1
        heapreplace(self._heap, self._deadline(turn, index))
        return index

    def _deadline(self, turn: int, index: int) -> tuple[int, float, int]:
        return turn, (self._served[index] + self._phases[index]) / self._weights[index], index

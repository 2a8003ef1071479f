"""Weighted round-robin: over a full turn, shares are exactly proportional to the weights.

Source: ``balancer.md`` section 3. A full turn is ``sum(weights) / gcd(weights)`` picks. It is never
laid out as a wheel, whose size would explode with coprime weights; cost and memory follow the
number of endpoints. Each balancer starts somewhere else, so that nodes do not march in step.

A retry takes no turn: it is drawn by weight from the endpoints that have not failed. If it took
one, each request that failed on an endpoint would spend the turn of a good one, until most first
tries went to the endpoint that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import cycle, repeat
from math import gcd
from random import choices, random, randrange

from gateway.balancing.endpoint import Endpoint


class RoundRobin:
    """Endpoints take turns, as often as their weights say."""

    __slots__ = ("_endpoints", "_next", "_weights")

    listener = None

    def __init__(self) -> None:
        self._endpoints: list[Endpoint] = []
        self._weights: list[int] = []
        self._next: Callable[[], Endpoint | None] = repeat(None).__next__

    def arrange(self, endpoints: Sequence[Endpoint]) -> None:
        """Start anew if anything has changed; see `Balancer.arrange`."""
        usable = [endpoint for endpoint in endpoints if endpoint.available and endpoint.weight]
        weights = [endpoint.weight for endpoint in usable]
        if usable != self._endpoints or weights != self._weights:
            self._endpoints, self._weights = usable, weights
            self._next = _turns(usable, weights).__next__ if usable else repeat(None).__next__

    def pick(
        self, now: float, exclude: Collection[Endpoint] = (), value: bytes | None = None
    ) -> Endpoint | None:
        """Return whose turn it is; when all have failed, they go on taking turns."""
        del now, value
        if exclude:
            left = [endpoint for endpoint in self._endpoints if endpoint not in exclude]
            if left:
                weights = [endpoint.weight for endpoint in left]
                return choices(left, weights)[0]  # noqa: S311 - spreads load only
        return self._next()


def _turns(endpoints: Sequence[Endpoint], weights: Sequence[int]) -> Iterator[Endpoint]:
    """Return an endless iterator over the endpoints, each as often as its weight says."""
    if len(set(weights)) > 1:
        return map(endpoints.__getitem__, _ProportionalTurns(weights))
    start = randrange(len(endpoints))  # noqa: S311 - spreads load only
    return cycle((*endpoints[start:], *endpoints[:start]))


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

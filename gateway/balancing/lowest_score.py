"""What least-connections and latency have in common: the endpoint of the lowest score is picked.

A score is ``(tries in flight + 1) * step``; the algorithms differ in the step. The scores of
those that are compared lie in one list, where the lowest is found without a loop of our own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import cycle, repeat

from gateway.balancing.balancer import Failure, Listener
from gateway.balancing.endpoint import Endpoint


class LowestScore(ABC):
    """Counts the tries in flight. Endpoints take turns in being preferred to equals."""

    __slots__ = ("_endpoints", "_floor", "_next", "_scores")

    def __init__(self) -> None:
        self._endpoints: list[Endpoint] = []
        self._scores: list[float] = []
        self._next: Callable[[], Endpoint | None] = repeat(None).__next__
        self._floor = 0.0  # no score can be lower: with it, there is no need to look further

    @property
    def listener(self) -> Listener:
        """Return this: the end of each try counts."""
        return self

    def arrange(self, endpoints: Sequence[Endpoint]) -> None:
        """Take what can be used; see `Balancer.arrange`."""
        usable = [endpoint for endpoint in endpoints if endpoint.available and endpoint.weight]
        if usable != self._endpoints:
            for endpoint in self._endpoints:
                endpoint.leave_others()
            self._endpoints, self._scores = usable, [0.0] * len(usable)
            for place, endpoint in enumerate(usable):
                endpoint.scores, endpoint.place = self._scores, place
            self._next = cycle(usable).__next__ if usable else repeat(None).__next__
        self._set_steps()

    def _set_steps(self) -> None:
        for endpoint, step in self.steps(self._endpoints):
            endpoint.step = step
            endpoint.scores[endpoint.place] = (endpoint.in_flight + 1) * step

    @abstractmethod
    def steps(self, endpoints: Sequence[Endpoint]) -> Iterable[tuple[Endpoint, float]]:
        """Return what each try in flight adds to the score of each endpoint."""

    def pick(
        self, now: float, exclude: Collection[Endpoint] = (), value: bytes | None = None
    ) -> Endpoint | None:
        """Return the endpoint of the lowest score; see `Balancer.pick`."""
        del now, value
        scores = self._scores
        best = self._lowest_but(exclude) if exclude else self._next()
        if best is None:
            return None
        score = scores[best.place]
        if score > self._floor and not exclude:
            lowest = min(scores)
            if lowest < score:
                best = self._endpoints[scores.index(lowest)]
        best.in_flight = in_flight = best.in_flight + 1
        scores[best.place] = (in_flight + 1) * best.step
        return best

    def _lowest_but(self, exclude: Collection[Endpoint]) -> Endpoint | None:
        """Return the best of those that have not failed this request, if there is any."""
        left = [endpoint for endpoint in self._endpoints if endpoint not in exclude]
        left = left or self.when_all_failed(self._endpoints)
        return min(left, key=lambda endpoint: self._scores[endpoint.place], default=None)

    @abstractmethod
    def when_all_failed(self, endpoints: list[Endpoint]) -> list[Endpoint]:
        """Return which of the endpoints may come again, all of which failed this request."""

    @abstractmethod
    def answered(self, endpoint: Endpoint, status: int, at: float, took_s: float) -> None:
        """Count one less in flight."""

    @abstractmethod
    def failed(
        self, endpoint: Endpoint, failure: Failure, at: float, took_s: float, *, is_last: bool
    ) -> None:
        """Count one less in flight."""

    def left(self, endpoint: Endpoint) -> None:
        """Count one less in flight."""
        in_flight = endpoint.in_flight
        endpoint.in_flight = in_flight - 1
        endpoint.scores[endpoint.place] = in_flight * endpoint.step

"""What least-connections and latency have in common: the endpoint of the lowest score is picked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from math import inf

from gateway.balancing.balancer import Listener, TryEnd
from gateway.balancing.endpoint import Endpoint


class LowestScore(ABC):
    """Counts the tries in flight; of endpoints with equal scores, the one picked longest ago."""

    __slots__ = ("_endpoints",)

    def __init__(self) -> None:
        self._endpoints: dict[Endpoint, None] = {}  # the one picked last at the end

    @property
    def listener(self) -> Listener:
        """Return this: the end of each try counts."""
        return self

    @abstractmethod
    def score(self, endpoint: Endpoint) -> float:
        """Return how bad it would be to pick this endpoint."""

    def arrange(self, endpoints: Sequence[Endpoint]) -> None:
        """Keep the order of those that stay; see `Balancer.arrange`."""
        usable = dict.fromkeys(e for e in endpoints if e.available and e.weight)
        staying = [endpoint for endpoint in self._endpoints if endpoint in usable]
        self._endpoints = dict.fromkeys([*staying, *usable])
        for endpoint in self._endpoints:
            endpoint.score = self.score(endpoint)

    def pick(
        self, now: float, exclude: Collection[Endpoint] = (), value: bytes | None = None
    ) -> Endpoint | None:
        """Return the endpoint of the lowest score; see `Balancer.pick`."""
        del now, value
        candidates: Iterable[Endpoint] = self._endpoints
        if exclude:
            left = [endpoint for endpoint in self._endpoints if endpoint not in exclude]
            candidates = left or self.when_all_failed(self._endpoints)
        best, lowest = None, inf
        for endpoint in candidates:
            if endpoint.score < lowest:
                best, lowest = endpoint, endpoint.score
        if best is not None:
            del self._endpoints[best]
            self._endpoints[best] = None
            best.in_flight += 1
            best.score = self.score(best)
        return best

    @abstractmethod
    def when_all_failed(self, endpoints: Iterable[Endpoint]) -> Iterable[Endpoint]:
        """Return which of the endpoints may come again, all of which failed this request."""

    def ended(self, endpoint: Endpoint, end: TryEnd) -> None:
        """Count one less in flight."""
        del end
        endpoint.in_flight -= 1
        if endpoint in self._endpoints:
            endpoint.score = self.score(endpoint)

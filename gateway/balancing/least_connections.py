"""Least connections: whoever has the fewest tries in flight for its weight.

Source: ``balancer.md`` section 3. Counted are the tries of this node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.balancing.balancer import Failure
from gateway.balancing.endpoint import Endpoint
from gateway.balancing.lowest_score import LowestScore


class LeastConnections(LowestScore):
    """Picks the lowest of ``(in flight + 1) / weight``."""

    __slots__ = ()

    def steps(self, endpoints: Sequence[Endpoint]) -> Iterable[tuple[Endpoint, float]]:
        """Return the load that one try is."""
        steps = {endpoint: 1 / endpoint.weight for endpoint in endpoints}
        self._floor = min(steps.values(), default=0.0)
        return steps.items()

    def when_all_failed(self, endpoints: list[Endpoint]) -> list[Endpoint]:
        """Return all of them."""
        return endpoints

    def answered(self, endpoint: Endpoint, status: int, at: float, took_s: float) -> None:
        """Count one less in flight."""
        del status, at, took_s
        in_flight = endpoint.in_flight
        endpoint.in_flight = in_flight - 1
        endpoint.scores[endpoint.place] = in_flight * endpoint.step

    def failed(
        self, endpoint: Endpoint, failure: Failure, at: float, took_s: float, *, is_last: bool
    ) -> None:
        """Count one less in flight."""
        del failure, at, took_s, is_last
        self.left(endpoint)

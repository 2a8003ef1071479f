"""Least connections: whoever has the fewest tries in flight for its weight.

Source: ``balancer.md`` section 3. Counted are the tries of this node.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.balancing.endpoint import Endpoint
from gateway.balancing.lowest_score import LowestScore


class LeastConnections(LowestScore):
    """Picks the lowest of ``(in flight + 1) / weight``."""

    __slots__ = ()

    def score(self, endpoint: Endpoint) -> float:
        """Return the load that the next try would make."""
        return (endpoint.in_flight + 1) / endpoint.weight

    def when_all_failed(self, endpoints: Iterable[Endpoint]) -> Iterable[Endpoint]:
        """Return all of them."""
        return endpoints

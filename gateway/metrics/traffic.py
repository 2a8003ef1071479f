"""Traffic counters per route: plain integers and lists, since the hot path pays for each of them.

`Counter.labels().inc()` costs a microsecond and a lock; a list slot costs thirty nanoseconds.
`metrics/exposition.py` renders what is kept here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from uuid import UUID

OWN_BUCKETS_MS = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
TOTAL_BUCKETS_MS = (25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)
"""Upper bounds, in milliseconds: Kong's (metrics.md section 3), plus +Inf."""


class Histogram:
    """Counts per bucket (not cumulative) and the sum of what was observed, in milliseconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value_ms: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value_ms)] += 1
        self.total += value_ms


class RouteTraffic:
    """Everything counted for one route under one pair of labels."""

    __slots__ = (
        "codes",
        "egress_bytes",
        "ingress_bytes",
        "own_ms",
        "request_ms",
        "route",
        "service",
        "upstream_ms",
    )

    def __init__(self, service: str, route: str) -> None:
        self.service = service
        self.route = route
        self.codes: dict[tuple[int, bool], int] = {}  # (status, whether the upstream answered)
        self.ingress_bytes = 0
        self.egress_bytes = 0
        self.own_ms = Histogram(OWN_BUCKETS_MS)
        self.upstream_ms = Histogram(TOTAL_BUCKETS_MS)
        self.request_ms = Histogram(TOTAL_BUCKETS_MS)

    def observe_latencies(
        self, request_ms: float, own_ms: float, upstream_ms: float | None
    ) -> None:
        """Count the latencies of one request; None: no target was chosen."""
        histogram = self.request_ms
        histogram.counts[bisect_left(TOTAL_BUCKETS_MS, request_ms)] += 1
        histogram.total += request_ms
        histogram = self.own_ms
        histogram.counts[bisect_left(OWN_BUCKETS_MS, own_ms)] += 1
        histogram.total += own_ms
        if upstream_ms is not None:
            histogram = self.upstream_ms
            histogram.counts[bisect_left(TOTAL_BUCKETS_MS, upstream_ms)] += 1
            histogram.total += upstream_ms


class TrafficMetrics:
    """The counters of all routes that have seen a request, and of requests without a route."""

    def __init__(self) -> None:
        self._routes: dict[UUID, RouteTraffic] = {}
        self.unmatched: dict[int, int] = {}
        self.refused: dict[int, int] = {}

    def __iter__(self) -> Iterator[RouteTraffic]:
        return iter(list(self._routes.values()))

    def of_route(self, route_id: UUID, service: str, route: str) -> RouteTraffic:
        """Return the counters of a route; a renamed one starts anew under its new labels."""
        traffic = self._routes.get(route_id)
        if traffic is None or traffic.service != service or traffic.route != route:
            traffic = self._routes[route_id] = RouteTraffic(service, route)
        return traffic

    def forget_all_but(self, exists: Callable[[UUID], bool]) -> None:
        """Drop the series of routes that are gone."""
        gone = [route_id for route_id in self._routes if not exists(route_id)]
        for route_id in gone:
            del self._routes[route_id]

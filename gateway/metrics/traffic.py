"""Traffic counters per route: plain numbers and arrays, since the hot path pays for each of them.

`Counter.labels().inc()` costs a microsecond and a lock; an array item costs forty nanoseconds.
Arrays, and dictionaries of integers, also stay out of the garbage collector's sight: a node with
100,000 routes has as many sets of counters. `metrics/exposition.py` renders what is kept here.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import TypeAlias
from uuid import UUID

Bounds = tuple[int, ...]
Histogram: TypeAlias = "array[float]"
"""The number of values per bucket (not cumulative), +Inf's bucket among them; then their sum."""

OWN_BUCKETS_MS: Bounds = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
TOTAL_BUCKETS_MS: Bounds = (
    *(25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10_000, 30_000, 60_000),
)
"""Upper bounds, in milliseconds: Kong's (metrics.md section 3), plus +Inf."""

# Where a route's latencies lie in its array: the buckets of a request as a whole, then the others.
_UPSTREAM = len(TOTAL_BUCKETS_MS) + 1
_OWN = _UPSTREAM + len(TOTAL_BUCKETS_MS) + 1
_REQUEST_SUM = _OWN + len(OWN_BUCKETS_MS) + 1
_UPSTREAM_SUM = _REQUEST_SUM + 1
_OWN_SUM = _REQUEST_SUM + 2


def new_histogram(bounds: Bounds) -> Histogram:
    """Return a histogram that has seen no value."""
    return array("d", bytes(8 * (len(bounds) + 2)))


def observe(histogram: Histogram, bounds: Bounds, value: float) -> None:
    """Count one value."""
    histogram[bisect_left(bounds, value)] += 1
    histogram[-1] += value


class RouteTraffic:
    """Everything counted for one route under one pair of labels.

    All latencies lie in one array: with many routes it is memory that a request waits for.
    """

    __slots__ = ("_codes", "_latencies", "egress_bytes", "ingress_bytes", "route", "service")

    def __init__(self, service: str, route: str) -> None:
        self.service = service
        self.route = route
        self._codes: dict[int, int] = {}  # twice the status, plus 1 if the upstream answered
        self.ingress_bytes = 0
        self.egress_bytes = 0
        self._latencies = array("d", bytes(8 * (_OWN_SUM + 1)))

    @property
    def own_ms(self) -> Histogram:
        """Time until the last target was chosen, or to an answer of our own."""
        return self._histogram(_OWN, OWN_BUCKETS_MS, _OWN_SUM)

    @property
    def upstream_ms(self) -> Histogram:
        """Time until the upstream's response head."""
        return self._histogram(_UPSTREAM, TOTAL_BUCKETS_MS, _UPSTREAM_SUM)

    @property
    def request_ms(self) -> Histogram:
        """Time until the end."""
        return self._histogram(0, TOTAL_BUCKETS_MS, _REQUEST_SUM)

    def requests(self) -> Iterator[tuple[int, bool, int]]:
        """Yield status, whether the upstream answered, and the number of such requests."""
        for code, number in list(self._codes.items()):
            yield code // 2, bool(code % 2), number

    def _histogram(self, start: int, bounds: Bounds, total: int) -> Histogram:
        latencies = self._latencies
        return latencies[start : start + len(bounds) + 1] + latencies[total : total + 1]

    # These two are asked for each request, so they take positions and do not call `observe`.

    def count(self, status: int, from_upstream: bool, ingress: int, egress: int) -> None:
        """Count one request, with its bytes."""
        code = 2 * status + from_upstream
        self._codes[code] = self._codes.get(code, 0) + 1
        self.ingress_bytes += ingress
        self.egress_bytes += egress

    def observe_latencies(
        self, request_ms: float, own_ms: float, upstream_ms: float | None
    ) -> None:
        """Count the latencies of one request; None: no target was chosen."""
        latencies = self._latencies
        latencies[bisect_left(TOTAL_BUCKETS_MS, request_ms)] += 1
        latencies[_REQUEST_SUM] += request_ms
        latencies[_OWN + bisect_left(OWN_BUCKETS_MS, own_ms)] += 1
        latencies[_OWN_SUM] += own_ms
        if upstream_ms is not None:
            latencies[_UPSTREAM + bisect_left(TOTAL_BUCKETS_MS, upstream_ms)] += 1
            latencies[_UPSTREAM_SUM] += upstream_ms


class TrafficMetrics:
    """The counters of all routes that have seen a request, and of requests without a route."""

    def __init__(self) -> None:
        self._routes: dict[UUID, RouteTraffic] = {}
        self.unmatched: dict[int, int] = {}
        self.refused: dict[int, int] = {}
        self.min_version_waits = 0
        self.min_version_timeouts = 0
        self.stale_refusals = 0
        self.connections_refused: dict[str, int] = {}  # by reason
        self.connections_gave_way = 0

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

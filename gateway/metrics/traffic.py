"""Traffic counters per route: plain numbers and arrays, since the hot path pays for each of them.

`Counter.labels().inc()` costs a microsecond and a lock; an array item costs forty nanoseconds.
Arrays, and dictionaries of integers, also stay out of the garbage collector's sight: a node with
100,000 routes has as many sets of counters. `metrics/exposition.py` renders what is kept here.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias
from uuid import UUID

Bounds = tuple[int, ...]
Histogram: TypeAlias = "array[float]"
"""The number of values per bucket (not cumulative), +Inf's bucket among them; then their sum."""

OWN_BUCKETS_MS: Bounds = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
TOTAL_BUCKETS_MS: Bounds = (
    *(25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10_000, 30_000, 60_000),
)
"""Upper bounds, in milliseconds: Kong's (metrics.md section 3), plus +Inf."""

MOST_CONSUMER_SERIES = 10_000
"""Pairs of route and consumer that are counted by themselves."""

OTHER_CONSUMERS = "(other)"
"""As whom all further ones are counted, one for each route."""

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


class Counts:
    """Requests by their outcome, and their bytes."""

    __slots__ = ("_codes", "egress_bytes", "ingress_bytes")

    def __init__(self) -> None:
        self._codes: dict[int, int] = {}  # twice the status, plus 1 if the upstream answered
        self.ingress_bytes = 0
        self.egress_bytes = 0

    def count(self, status: int, from_upstream: bool, ingress: int, egress: int) -> None:
        """Count one request, with its bytes."""
        code = 2 * status + from_upstream
        self._codes[code] = self._codes.get(code, 0) + 1
        self.ingress_bytes += ingress
        self.egress_bytes += egress

    def requests(self) -> Iterator[tuple[int, bool, int]]:
        """Yield status, whether the upstream answered, and the number of such requests."""
        for code, number in list(self._codes.items()):
            yield code // 2, bool(code % 2), number

    def without(self, part: Counts) -> Counts:
        """Return what is left without a part of it."""
        rest = Counts()
        for code, number in self._codes.items():
            left = number - part._codes.get(code, 0)
            if left > 0:
                rest._codes[code] = left
        rest.ingress_bytes = max(0, self.ingress_bytes - part.ingress_bytes)
        rest.egress_bytes = max(0, self.egress_bytes - part.egress_bytes)
        return rest


_NOBODY: dict[str, Counts] = {}
"""What the many routes have in common that are not counted by consumers."""


class RouteTraffic(Counts):
    """Everything counted for one route under one pair of labels.

    What of it is also counted for consumers is in ``consumers`` by their name, all in all in
    ``of_consumers``. All latencies lie in one array: with many routes it is memory that a request
    waits for.
    """

    __slots__ = ("_latencies", "consumers", "of_consumers", "route", "service")

    def __init__(self, service: str, route: str) -> None:
        super().__init__()
        self.service = service
        self.route = route
        self.consumers: dict[str, Counts] = _NOBODY
        self.of_consumers: Counts | None = None
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

    def shares(self) -> Iterator[Share]:
        """Yield what is counted for nobody in particular, then for each consumer."""
        rest = self if self.of_consumers is None else self.without(self.of_consumers)
        yield Share(self, "", rest)
        for consumer, counts in list(self.consumers.items()):
            yield Share(self, consumer, counts)

    def _histogram(self, start: int, bounds: Bounds, total: int) -> Histogram:
        latencies = self._latencies
        return latencies[start : start + len(bounds) + 1] + latencies[total : total + 1]

    def observe_latencies(
        self, request_ms: float, own_ms: float, upstream_ms: float | None
    ) -> None:
        """Count the latencies of one request; None: no target was chosen."""
        # Asked for each request, so it does not call `observe`.
        latencies = self._latencies
        latencies[bisect_left(TOTAL_BUCKETS_MS, request_ms)] += 1
        latencies[_REQUEST_SUM] += request_ms
        latencies[_OWN + bisect_left(OWN_BUCKETS_MS, own_ms)] += 1
        latencies[_OWN_SUM] += own_ms
        if upstream_ms is not None:
            latencies[_UPSTREAM + bisect_left(TOTAL_BUCKETS_MS, upstream_ms)] += 1
            latencies[_UPSTREAM_SUM] += upstream_ms


class Share(NamedTuple):
    """What of a route's traffic is a consumer's; the empty name is nobody in particular."""

    of: RouteTraffic
    consumer: str
    counts: Counts


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
        self.consumer_overflows = 0  # requests counted as those of other consumers
        self._consumer_series = 0
        self.health_wanted = 0  # by how many plugins the health of targets is asked for

    def __iter__(self) -> Iterator[RouteTraffic]:
        return iter(list(self._routes.values()))

    def of_route(self, route_id: UUID, service: str, route: str) -> RouteTraffic:
        """Return the counters of a route; a renamed one starts anew under its new labels."""
        traffic = self._routes.get(route_id)
        if traffic is None or traffic.service != service or traffic.route != route:
            self._consumer_series -= _consumers_of(traffic)
            traffic = self._routes[route_id] = RouteTraffic(service, route)
        return traffic

    def of_consumer(self, route_id: UUID, consumer: str) -> Iterator[Counts]:
        """Yield where a request is to be counted for its consumer, beside its route's counters.

        From `MOST_CONSUMER_SERIES` on, consumers that are new have one series in common.
        """
        traffic = self._routes.get(route_id)
        if traffic is None:
            return
        if traffic.of_consumers is None:
            traffic.consumers, traffic.of_consumers = {}, Counts()
        yield traffic.of_consumers
        found = traffic.consumers.get(consumer)
        if found is None:
            if self._consumer_series < MOST_CONSUMER_SERIES:
                self._consumer_series += 1
            else:
                self.consumer_overflows += 1
                consumer = OTHER_CONSUMERS
            found = traffic.consumers.setdefault(consumer, Counts())
        yield found

    def forget_all_but(self, exists: Callable[[UUID], bool]) -> None:
        """Drop the series of routes that are gone."""
        gone = [route_id for route_id in self._routes if not exists(route_id)]
        for route_id in gone:
            self._consumer_series -= _consumers_of(self._routes.pop(route_id))


def _consumers_of(traffic: RouteTraffic | None) -> int:
    """Return how many consumers are counted by themselves there."""
    if traffic is None:
        return 0
    return len(traffic.consumers) - (OTHER_CONSUMERS in traffic.consumers)

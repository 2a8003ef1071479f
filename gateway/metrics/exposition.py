"""The node's counters as Prometheus text, in slices, so that a scrape never holds the event loop.

Names and labels are Kong's (metrics.md section 3) under our prefix, or under ``kong_`` with
``compat=kong``. A route's series exist from its first request until it is deleted.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from itertools import accumulate, islice
from typing import Any
from uuid import UUID

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.hybrid.register import DataPlaneFacts
from gateway.metrics.apply import BUCKETS_MS, ApplyMetrics
from gateway.metrics.data_planes import DataPlaneFamilies
from gateway.metrics.target_states import TARGET_STATES, target_states
from gateway.metrics.traffic import (
    OWN_BUCKETS_MS,
    TOTAL_BUCKETS_MS,
    Bounds,
    Histogram,
    RouteTraffic,
    Share,
    TrafficMetrics,
)
from gateway.settings import Compat
from gateway.status.facts import NodeFacts
from gateway.status.health import UpstreamHealth
from gateway.status.memory import resident_bytes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ITEMS_PER_SLICE = 20
_SAMPLES_PER_SLICE = 200


class Exposition:
    """Renders everything a node counts."""

    def __init__(
        self,
        node: NodeFacts,
        traffic: TrafficMetrics,
        applies: ApplyMetrics,
        route_exists: Callable[[UUID], bool],
        data_planes: Callable[[], list[DataPlaneFacts]] | None = None,
    ) -> None:
        self._node = node
        self._data_planes = data_planes
        self._route_exists = route_exists
        self._process = ProcessCollector(registry=None)
        self._traffic = traffic
        self._applies = applies
        kong = node.settings.compat is Compat.KONG
        self._prefix = "kong_" if kong else "gateway_"
        self._own = "kong" if kong else "gateway"

    async def render(self) -> AsyncIterator[bytes]:
        """Yield the text piece by piece, letting other work go on in between."""
        for family in self._node_families():
            yield _text(family)
        self._traffic.forget_all_but(self._route_exists)
        for make_family, items in self._sliced_families():
            first = True
            for some in _slices(items, _ITEMS_PER_SLICE):
                await asyncio.sleep(0)
                text = _text(make_family(some))
                yield text if first else _without_comments(text)
                first = False
        for family in self._node.plugin_metrics():
            async for piece in self._of_plugins(family):
                yield piece

    async def _of_plugins(self, family: Metric) -> AsyncIterator[bytes]:
        """Yield a family of plugins, however many series it has."""
        first = True
        for samples in _slices(family.samples, _SAMPLES_PER_SLICE):
            some = Metric(self._prefix + family.name, family.documentation, family.type)
            some.samples = [s._replace(name=self._prefix + s.name) for s in samples]
            text = _text(some)
            yield text if first else _without_comments(text)
            first = False
            await asyncio.sleep(0)

    def _sliced_families(self) -> Iterator[tuple[Callable[[Any], Metric], Iterable[Any]]]:
        """Yield what makes a family, and what it makes it of, slice by slice."""
        for of_shares in (self._requests, self._bandwidth):
            yield of_shares, (share for traffic in self._traffic for share in traffic.shares())
        for of_traffic in self._latencies():
            yield of_traffic, self._traffic
        if self._traffic.health_wanted:
            yield self._target_health, self._node.health.each()
        if self._data_planes is not None:
            data_planes = self._data_planes()
            for of_data_planes in DataPlaneFamilies(self._prefix, self._node.sync.applied).all():
                yield of_data_planes, data_planes

    # -- families about the node

    def _node_families(self) -> Iterator[Metric]:
        yield self._node_info()
        yield from self._connections()
        yield from self._config()
        yield from self._process.collect()
        if self._own == "kong":
            yield self._memory()
        yield self._requests_without_route()
        yield CounterMetricFamily(
            self._prefix + "consumer_overflows",
            "Requests of consumers that have no series of their own, as there are too many.",
            value=self._traffic.consumer_overflows,
        )
        yield from self._freshness()
        yield from self._access_log()
        yield from self._plugins()
        yield from self._health()
        yield self._gauge("body_spool_bytes", "Bytes of bodies on disk.", self._node.spooled_bytes)

    def _node_info(self) -> Metric:
        identity = self._node.identity
        info = GaugeMetricFamily(
            self._prefix + "node_info", "Always 1.", labels=["node_id", "node_name", "version"]
        )
        info.add_metric([str(identity.id), identity.name, __version__], 1)
        return info

    def _memory(self) -> Metric:
        """Tell the memory of the process where Kong's dashboard looks for that of its workers."""
        family = GaugeMetricFamily(
            self._prefix + "memory_workers_lua_vms_bytes",
            "Resident memory of the node, which is one process.",
            labels=["node_id", "pid", "kong_subsystem"],
        )
        family.add_metric([str(self._node.identity.id), str(os.getpid()), "http"], resident_bytes())
        return family

    def _connections(self) -> Iterator[Metric]:
        counts = self._node.connections()
        name = "nginx_connections_total" if self._own == "kong" else "connections"
        family = GaugeMetricFamily(
            self._prefix + name,
            "Client connections by state; total counts requests.",
            labels=["node_id", "subsystem", "state"],
        )
        labels = [str(self._node.identity.id), "http"]
        for state in ("accepted", "handled", "active", "reading", "writing", "waiting"):
            family.add_metric([*labels, state], getattr(counts, state))
        family.add_metric([*labels, "total"], counts.total_requests)
        yield family
        requests = CounterMetricFamily(
            self._prefix + ("nginx_requests" if self._own == "kong" else "requests"),
            "Requests read, whether or not a route matched.",
            labels=["node_id", "subsystem"],
        )
        requests.add_metric(labels, counts.total_requests)
        yield requests
        yield from self._connections_too_many()

    def _connections_too_many(self) -> Iterator[Metric]:
        refused = CounterMetricFamily(
            self._prefix + "connections_refused",
            "Client connections closed before they could send a request: a limit was reached, or "
            "the PROXY header or the TLS handshake failed.",
            labels=["reason"],
        )
        for reason, number in sorted(self._traffic.connections_refused.items()):
            refused.add_metric([reason], number)
        yield refused
        yield CounterMetricFamily(
            self._prefix + "connections_gave_way",
            "Idle client connections closed to make room for new ones, at max_connections.",
            value=self._traffic.connections_gave_way,
        )

    def _plugins(self) -> Iterator[Metric]:
        for name, text, label, counts in (
            (
                "plugin_failures",
                "Times a plugin raised, or kept a request waiting for too long.",
                "plugin",
                self._node.plugin_failures,
            ),
            (
                "loop_stalls",
                "Times the event loop was held up, by the plugin that did it, or other.",
                "cause",
                self._node.loop_stalls,
            ),
        ):
            family = CounterMetricFamily(self._prefix + name, text, labels=[label])
            for value, number in sorted(counts.items()):
                family.add_metric([value], number)
            yield family

    def _health(self) -> Iterator[Metric]:
        counts = self._node.health_counts
        yield self._gauge(
            "health_checked_addresses",
            "Addresses of targets whose health is checked.",
            counts.census.checked,
        )
        yield self._gauge(
            "health_unhealthy_addresses",
            "Those of them that are unhealthy and get no traffic.",
            counts.census.unhealthy,
        )
        for name, text, label, numbers in (
            ("health_probes", "Probes of this node, by what they found.", "outcome", counts.probes),
            (
                "health_changes",
                "Addresses that became healthy, or unhealthy.",
                "to",
                counts.changes,
            ),
        ):
            family = CounterMetricFamily(self._prefix + name, text, labels=[label])
            for value, number in sorted(numbers.items()):
                family.add_metric([value], number)
            yield family

    def _config(self) -> Iterator[Metric]:
        sync = self._node.sync
        yield self._gauge(
            "config_version_applied",
            "Version of the snapshot that this node serves from.",
            0 if sync.applied is None else sync.applied.version,
        )
        yield self._gauge(
            "config_version_seen",
            "Newest version seen in the database.",
            sync.seen_version or 0,
        )
        if sync.last_success is not None:
            yield self._gauge(
                "config_sync_age_seconds",
                "Seconds since the database last answered that there is nothing newer, or its load "
                "was applied.",
                time.monotonic() - sync.last_success,
            )
        yield self._gauge(
            "datastore_reachable", "1 while the last sync succeeded.", int(sync.state == "synced")
        )
        yield from self._disk_copy()
        yield from self._sync_counters()
        yield from self._applied()
        yield from self._bad_entities()

    def _bad_entities(self) -> Iterator[Metric]:
        bad = self._node.bad_entities()
        yield self._left_out(
            "config_bad_entities",
            "Rows left out of the snapshot because no code can read them.",
            "entity",
            Counter(entity.kind for entity in bad),
        )
        yield self._left_out(
            "plugins_left_out",
            "Plugin entities left out of the snapshot, by the plugin that cannot run.",
            "plugin",
            Counter(entity.name or "" for entity in bad if entity.kind == "plugins"),
        )

    def _disk_copy(self) -> Iterator[Metric]:
        yield self._gauge(
            "config_from_disk",
            "1 while what is served is from the disk copy and no sync has succeeded yet.",
            int(self._node.sync.loaded_from_disk),
        )
        copy = self._node.disk_copy
        if copy is not None:
            yield self._gauge(
                "config_disk_copy_failing",
                "1 while the disk copy cannot be kept up to date.",
                int(copy.problem is not None),
            )

    def _sync_counters(self) -> Iterator[Metric]:
        sync = self._node.sync
        for name, text, value in (
            (
                "config_syncs",
                "Questions to the database whether there is a newer version.",
                sync.syncs,
            ),
            ("config_applies", "Snapshots made current.", sync.applies),
            ("config_full_loads", "Applies that read the whole configuration.", sync.full_loads),
            ("config_sync_failures", "Syncs that failed.", sync.failures),
            (
                "sync_strategy_restarts",
                "Times the sync strategy failed or fell silent and was started again.",
                sync.strategy_restarts,
            ),
        ):
            family = CounterMetricFamily(self._prefix + name, text)
            family.add_metric([], value)
            yield family

    def _applied(self) -> Iterator[Metric]:
        for name, text, histogram in (
            (
                "config_apply_duration_ms",
                "Time to build a snapshot and make it current.",
                self._applies.duration_ms,
            ),
            (
                "config_propagation_ms",
                "Stale window: from a version's commit to its apply here, by the database's clock.",
                self._applies.propagation_ms,
            ),
        ):
            family = HistogramMetricFamily(self._prefix + name, text)
            _add_histogram(family, [], BUCKETS_MS, histogram)
            yield family

    def _left_out(self, name: str, text: str, label: str, numbers: Mapping[str, int]) -> Metric:
        family = GaugeMetricFamily(self._prefix + name, text, labels=[label])
        for value, number in sorted(numbers.items()):
            family.add_metric([value], number)
        return family

    def _requests_without_route(self) -> Metric:
        family = CounterMetricFamily(
            self._prefix + "unrouted_requests",
            "Requests that no route matched (reason=unmatched) or that could not be read "
            "(reason=refused).",
            labels=["reason", "code"],
        )
        for reason, codes in (
            ("unmatched", self._traffic.unmatched),
            ("refused", self._traffic.refused),
        ):
            for code, count in sorted(codes.items()):
                family.add_metric([reason, str(code)], count)
        return family

    def _freshness(self) -> Iterator[Metric]:
        waits = CounterMetricFamily(
            self._prefix + "min_version_requests",
            "Requests that had to wait for the version they asked for, and of these the ones that "
            "were refused as it did not come in time.",
            labels=["outcome"],
        )
        waits.add_metric(["waited"], self._traffic.min_version_waits)
        waits.add_metric(["timed_out"], self._traffic.min_version_timeouts)
        yield waits
        yield CounterMetricFamily(
            self._prefix + "stale_refusals",
            "Requests refused because the node had not synced for max_stale_s.",
            value=self._traffic.stale_refusals,
        )

    def _access_log(self) -> Iterator[Metric]:
        counts = self._node.access_log_counts
        if counts is None:
            return
        lines = CounterMetricFamily(
            self._prefix + "access_log_lines",
            "Lines of the access log that were written, and that were dropped because writing did "
            "not keep up.",
            labels=["outcome"],
        )
        lines.add_metric(["written"], counts.written)
        lines.add_metric(["dropped"], counts.dropped)
        yield lines
        yield CounterMetricFamily(
            self._prefix + "access_log_failures",
            "Attempts to write to the access log that failed; each is tried again.",
            value=counts.failures,
        )

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        return GaugeMetricFamily(self._prefix + name, text, value=value)

    # -- families about traffic, each for a slice of the routes

    def _latencies(self) -> list[Callable[[Iterable[RouteTraffic]], Metric]]:
        own = "kong_latency_ms" if self._own == "kong" else "own_latency_ms"
        return [
            lambda routes: self._latency(
                own,
                "Time spent in the gateway.",
                OWN_BUCKETS_MS,
                [(traffic, traffic.own_ms) for traffic in routes],
            ),
            lambda routes: self._latency(
                "upstream_latency_ms",
                "Time waited for the upstream's response head.",
                TOTAL_BUCKETS_MS,
                [(traffic, traffic.upstream_ms) for traffic in routes],
            ),
            lambda routes: self._latency(
                "request_latency_ms",
                "Time of the whole request.",
                TOTAL_BUCKETS_MS,
                [(traffic, traffic.request_ms) for traffic in routes],
            ),
        ]

    def _requests(self, shares: Iterable[Share]) -> Metric:
        family = CounterMetricFamily(
            self._prefix + "http_requests",
            "Requests by route and status; source tells who answered.",
            labels=["service", "route", "code", "source", "workspace", "consumer"],
        )
        for traffic, consumer, counts in shares:
            labels = [traffic.service, traffic.route]
            for status, from_upstream, count in counts.requests():
                source = "service" if from_upstream else self._own
                family.add_metric([*labels, str(status), source, "default", consumer], count)
        return family

    def _bandwidth(self, shares: Iterable[Share]) -> Metric:
        # Kong's counter has no _total, so it is written as a gauge in compat mode.
        kind = GaugeMetricFamily if self._own == "kong" else CounterMetricFamily
        family = kind(
            self._prefix + "bandwidth_bytes",
            "Bytes of requests (ingress) and responses (egress).",
            labels=["service", "route", "direction", "workspace", "consumer"],
        )
        for traffic, consumer, counts in shares:
            labels = [traffic.service, traffic.route]
            family.add_metric([*labels, "ingress", "default", consumer], counts.ingress_bytes)
            family.add_metric([*labels, "egress", "default", consumer], counts.egress_bytes)
        return family

    def _target_health(self, upstreams: Iterable[UpstreamHealth]) -> Metric:
        """Tell of each address in which of four states it is (metrics.md section 4)."""
        family = GaugeMetricFamily(
            self._prefix + "upstream_target_health",
            "1 for the state that an address of a target is in, 0 for the others.",
            labels=["upstream", "target", "address", "state", "subsystem"],
        )
        for upstream, target, address, found in target_states(upstreams):
            for state in TARGET_STATES:
                labels = [upstream, target, address, state, "http"]
                family.add_metric(labels, int(state == found))
        return family

    def _latency(
        self,
        name: str,
        text: str,
        bounds: Bounds,
        histograms: list[tuple[RouteTraffic, Histogram]],
    ) -> Metric:
        family = HistogramMetricFamily(
            self._prefix + name, text, labels=["service", "route", "workspace"]
        )
        for traffic, histogram in histograms:
            labels = [traffic.service, traffic.route, "default"]
            _add_histogram(family, labels, bounds, histogram)
        return family


class _OneFamily(Collector):
    """A collector of a single family, for the library's renderer."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


def _text(family: Metric) -> bytes:
    return generate_latest(_OneFamily(family))


def _without_comments(text: bytes) -> bytes:
    """Drop HELP and TYPE, which may stand only before a family's first series."""
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))


def _slices(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield the items in slices; one empty slice when there are none, for HELP and TYPE."""
    left = iter(items)
    while True:
        taken = list(islice(left, size))
        yield taken
        if len(taken) < size:
            return


def _add_histogram(
    family: HistogramMetricFamily, labels: list[str], bounds: Bounds, histogram: Histogram
) -> None:
    *counts, total = histogram
    limits = [*map(str, bounds), "+Inf"]
    buckets = list(zip(limits, accumulate(counts), strict=True))
    family.add_metric(labels, buckets, sum_value=total)

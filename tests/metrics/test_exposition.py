"""What `/metrics` says, read by the official parser."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from gateway.access_log import WriterCounts
from gateway.metrics.apply import ApplyMetrics
from gateway.metrics.exposition import Exposition
from gateway.metrics.traffic import OWN_BUCKETS_MS, TOTAL_BUCKETS_MS, TrafficMetrics
from gateway.status.facts import BadEntity
from gateway.status.health import AddressHealth, TargetHealth, UpstreamHealth
from gateway.status.health_counts import Census
from gateway.sync.status import SyncState
from tests.status.node import NODE_ID, SomeDiskCopy, SomeNode, some_node


class Scraped:
    """A node's metrics, with all that feeds them."""

    def __init__(self, node: SomeNode) -> None:
        self.node = node
        self.traffic = TrafficMetrics()
        self.applies = ApplyMetrics()
        self.routes: set[UUID] = set()
        self._exposition = Exposition(
            node, self.traffic, self.applies, lambda route_id: route_id in self.routes
        )

    def add_route(self, service: str, route: str) -> UUID:
        route_id = uuid4()
        self.routes.add(route_id)
        self.traffic.of_route(route_id, service, route)
        return route_id

    def request(self, route_id: UUID, service: str = "s", route: str = "r") -> None:
        counters = self.traffic.of_route(route_id, service, route)
        counters.count(200, True, 100, 2000)
        counters.observe_latencies(90.0, 3.0, 60.0)

    async def text(self) -> str:
        return b"".join([piece async for piece in self._exposition.render()]).decode()

    async def families(self) -> dict[str, Metric]:
        families = list(text_string_to_metric_families(await self.text()))
        by_name = {family.name: family for family in families}
        assert len(by_name) == len(families), "a family in two pieces"
        return by_name

    async def samples(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in (await self.families()).values():
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    async def value(self, name: str, **labels: str) -> float:
        samples = (await self.samples())[name]
        (value,) = (value for found, value in samples if labels.items() <= found.items())
        return value


@pytest.fixture
def scraped() -> Scraped:
    return Scraped(some_node())


@pytest.fixture
def kongs() -> Scraped:
    return Scraped(some_node(compat="kong"))


async def test_a_node_without_routes_can_be_scraped(scraped: Scraped):
    families = await scraped.families()
    for family in families.values():
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
    assert families["gateway_http_requests"].samples == []


async def test_requests_are_told_by_service_route_and_code(scraped: Scraped):
    route_id = scraped.add_route("orders", "all")
    counters = scraped.traffic.of_route(route_id, "orders", "all")
    counters.count(200, True, 10, 20)
    counters.count(200, True, 10, 20)
    counters.count(502, False, 1, 2)
    labels = {"service": "orders", "route": "all", "workspace": "default", "consumer": ""}
    samples = await scraped.samples()
    assert samples["gateway_http_requests_total"] == [
        ({**labels, "code": "200", "source": "service"}, 2),
        ({**labels, "code": "502", "source": "gateway"}, 1),
    ]
    assert samples["gateway_bandwidth_bytes_total"] == [
        ({**labels, "direction": "ingress"}, 21),
        ({**labels, "direction": "egress"}, 42),
    ]


@pytest.mark.parametrize(
    ("name", "bounds", "bucket", "value"),
    [
        ("gateway_request_latency_ms", TOTAL_BUCKETS_MS, 100, 90.0),
        ("gateway_upstream_latency_ms", TOTAL_BUCKETS_MS, 80, 60.0),
        ("gateway_own_latency_ms", OWN_BUCKETS_MS, 5, 3.0),
    ],
)
async def test_latencies_are_histograms(
    scraped: Scraped, name: str, bounds: tuple[int, ...], bucket: int, value: float
):
    scraped.request(scraped.add_route("s", "r"))
    samples = await scraped.samples()
    buckets = {labels["le"]: count for labels, count in samples[f"{name}_bucket"]}
    assert [*buckets] == [*(str(bound) for bound in bounds), "+Inf"]
    assert buckets == {bound: float(bound == "+Inf" or int(bound) >= bucket) for bound in buckets}
    labels = {"service": "s", "route": "r", "workspace": "default"}
    assert samples[f"{name}_sum"] == [(labels, value)]
    assert samples[f"{name}_count"] == [(labels, 1)]


async def test_the_series_of_a_deleted_route_disappear(scraped: Scraped):
    gone, kept = scraped.add_route("s", "gone"), scraped.add_route("s", "kept")
    scraped.request(gone, route="gone")
    scraped.request(kept, route="kept")
    assert 'route="gone"' in await scraped.text()
    scraped.routes.remove(gone)
    text = await scraped.text()
    assert 'route="gone"' not in text
    assert 'route="kept"' in text


async def test_many_routes_are_told_in_whole_families(scraped: Scraped):
    """A family is written in slices of routes, its comments once."""
    for number in range(101):
        scraped.request(scraped.add_route("s", f"r{number}"), route=f"r{number}")
    families = await scraped.families()
    for name in ("gateway_http_requests", "gateway_request_latency_ms"):
        assert len({sample.labels["route"] for sample in families[name].samples}) == 101
    assert (await scraped.text()).count("# TYPE gateway_http_requests_total counter\n") == 1


async def test_a_scrape_lets_other_work_go_on(scraped: Scraped):
    for number in range(200):
        scraped.request(scraped.add_route("s", f"r{number}"), route=f"r{number}")
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(other_work())
    await scraped.text()
    working.cancel()
    assert turns > 20


async def test_labels_are_escaped(scraped: Scraped):
    name = 'a"b\\c\nd'
    scraped.request(scraped.add_route(name, "r"), service=name)
    ((labels, _),) = (await scraped.samples())["gateway_http_requests_total"]
    assert labels["service"] == name


async def test_requests_without_a_route_are_told_apart(scraped: Scraped):
    scraped.traffic.unmatched[404] = 5
    scraped.traffic.refused[400] = 2
    assert (await scraped.samples())["gateway_unrouted_requests_total"] == [
        ({"reason": "unmatched", "code": "404"}, 5),
        ({"reason": "refused", "code": "400"}, 2),
    ]


async def test_connections_are_told_by_state(scraped: Scraped):
    samples = (await scraped.samples())["gateway_connections"]
    assert {labels["state"]: value for labels, value in samples} == {
        "accepted": 10,
        "handled": 9,
        "active": 6,
        "reading": 1,
        "writing": 2,
        "waiting": 3,
        "total": 100,
    }
    assert {labels["node_id"] for labels, _ in samples} == {str(NODE_ID)}


async def test_connections_that_had_to_go_are_counted(scraped: Scraped):
    scraped.traffic.connections_refused = {"tls_handshake": 3, "max_connections": 2}
    scraped.traffic.connections_gave_way = 4
    assert (await scraped.samples())["gateway_connections_refused_total"] == [
        ({"reason": "max_connections"}, 2),
        ({"reason": "tls_handshake"}, 3),
    ]
    assert await scraped.value("gateway_connections_gave_way_total") == 4


async def test_a_node_that_has_loaded_nothing_says_so(scraped: Scraped):
    samples = await scraped.samples()
    assert samples["gateway_config_version_applied"] == [({}, 0)]
    assert samples["gateway_datastore_reachable"] == [({}, 0)]
    assert "gateway_config_sync_age_seconds" not in samples


async def test_versions_and_the_age_of_the_last_sync_are_told(scraped: Scraped):
    scraped.node.load(7)
    scraped.node.sync.seen_version = 9
    scraped.node.sync.last_success = time.monotonic() - 30
    assert await scraped.value("gateway_config_version_applied") == 7
    assert await scraped.value("gateway_config_version_seen") == 9
    assert await scraped.value("gateway_datastore_reachable") == 1
    assert await scraped.value("gateway_config_sync_age_seconds") >= 30
    scraped.node.sync.state = SyncState.DATABASE_UNAVAILABLE
    assert await scraped.value("gateway_datastore_reachable") == 0


async def test_what_is_served_from_disk_and_cannot_be_kept_there_is_told(scraped: Scraped):
    assert await scraped.value("gateway_config_from_disk") == 0
    assert "gateway_config_disk_copy_failing" not in await scraped.samples()
    scraped.node.sync.loaded_from_disk = True
    scraped.node.disk_copy = SomeDiskCopy(Path("snapshots/a"))
    assert await scraped.value("gateway_config_from_disk") == 1
    assert await scraped.value("gateway_config_disk_copy_failing") == 0
    scraped.node.disk_copy.problem = "the disk is full"
    assert await scraped.value("gateway_config_disk_copy_failing") == 1


async def test_what_became_of_the_access_logs_lines_is_told(scraped: Scraped):
    assert not [name for name in await scraped.samples() if "access_log" in name]
    counts = scraped.node.access_log_counts = WriterCounts()
    counts.written, counts.dropped, counts.failures = 30, 2, 1
    lines = "gateway_access_log_lines_total"
    assert await scraped.value(lines, outcome="written") == 30
    assert await scraped.value(lines, outcome="dropped") == 2
    assert await scraped.value("gateway_access_log_failures_total") == 1


async def test_failures_of_plugins_and_stalls_are_told(scraped: Scraped):
    scraped.node.plugin_failures["acl"] = 2
    scraped.node.loop_stalls["other"] = 1
    assert await scraped.value("gateway_plugin_failures_total", plugin="acl") == 2
    assert await scraped.value("gateway_loop_stalls_total", cause="other") == 1


async def test_what_health_checks_do_and_find_is_counted(scraped: Scraped) -> None:
    counts = scraped.node.health_counts
    counts.probes["tcp_failure"] = 3
    counts.changes["unhealthy"] = 1
    counts.census = Census(checked=4, unhealthy=2)
    assert await scraped.value("gateway_health_probes_total", outcome="tcp_failure") == 3
    assert await scraped.value("gateway_health_changes_total", to="unhealthy") == 1
    assert await scraped.value("gateway_health_checked_addresses") == 4
    assert await scraped.value("gateway_health_unhealthy_addresses") == 2


async def test_what_is_counted_for_consumers_is_told_apart(scraped: Scraped):
    route_id = scraped.add_route("s", "r")
    consumers = [f"c{number}" for number in range(50)]  # more than are rendered at once
    for consumer in ["", *consumers]:
        scraped.request(route_id)
        for counts in scraped.traffic.of_consumer(route_id, consumer) if consumer else ():
            counts.count(200, True, 100, 2000)
    for name in ["", *consumers]:
        assert await scraped.value("gateway_http_requests_total", consumer=name) == 1
        egress = {"direction": "egress", "consumer": name}
        assert await scraped.value("gateway_bandwidth_bytes_total", **egress) == 2000


def an_upstream(name: str, *addresses: AddressHealth, dns_error: str = "") -> UpstreamHealth:
    target = TargetHealth(uuid4(), "orders.example", 80, 100, "A", dns_error, addresses)
    return UpstreamHealth(uuid4(), name, checked=True, healthy=True, targets=(target,))


async def test_the_health_of_targets_is_told_if_somebody_asks_for_it(scraped: Scraped):
    states = ("healthy", "mostly_unhealthy", None)
    addresses = [
        AddressHealth(f"10.0.0.{number}", 80, 100, number != 1, state)
        for number, state in enumerate(states)
    ]
    scraped.node.health.upstreams = [
        an_upstream("orders", *addresses),
        an_upstream("lost", dns_error="no such name"),
        *(an_upstream(f"u{number}", addresses[0]) for number in range(40)),
    ]
    assert "gateway_upstream_target_health" not in await scraped.samples()
    scraped.traffic.health_wanted = 1
    samples = (await scraped.samples())["gateway_upstream_target_health"]
    assert len(samples) == 4 * 44
    found = {
        (labels["upstream"], labels["address"]): labels["state"]
        for labels, value in samples
        if value
    }
    assert found["orders", "10.0.0.0:80"] == "healthy"
    assert found["orders", "10.0.0.1:80"] == "unhealthy"
    assert found["orders", "10.0.0.2:80"] == "healthchecks_off"
    assert found["lost", ""] == "dns_error"
    assert {labels["target"] for labels, _ in samples} == {"orders.example:80"}


async def test_what_plugins_measure_is_told_under_the_nodes_prefix(scraped: Scraped):
    hits = CounterMetricFamily("cache_hits", "Hits.", labels=["key"])
    for number in range(500):  # more than are rendered at once
        hits.add_metric([str(number)], number)
    scraped.node.of_plugins = [hits, GaugeMetricFamily("cache_entries", "Entries.", value=7)]
    assert await scraped.value("gateway_cache_hits_total", key="499") == 499
    assert await scraped.value("gateway_cache_entries") == 7


async def test_what_bodies_take_of_the_disk_is_told(scraped: Scraped):
    assert await scraped.value("gateway_body_spool_bytes") == 0
    scraped.node.spooled_bytes = 1_000_000
    assert await scraped.value("gateway_body_spool_bytes") == 1_000_000


async def test_what_sync_counts_is_told(scraped: Scraped):
    sync = scraped.node.sync
    sync.syncs, sync.applies, sync.full_loads, sync.failures = 50, 4, 1, 2
    assert await scraped.value("gateway_config_syncs_total") == 50
    assert await scraped.value("gateway_config_applies_total") == 4
    assert await scraped.value("gateway_config_full_loads_total") == 1
    assert await scraped.value("gateway_config_sync_failures_total") == 2


async def test_applies_are_histograms(scraped: Scraped):
    scraped.applies.observe(0.003, 0.2)
    assert await scraped.value("gateway_config_apply_duration_ms_bucket", le="5") == 1
    assert await scraped.value("gateway_config_apply_duration_ms_bucket", le="2") == 0
    assert await scraped.value("gateway_config_propagation_ms_sum") == pytest.approx(200)
    assert await scraped.value("gateway_config_propagation_ms_count") == 1


async def test_plugins_left_out_are_counted_by_name(scraped: Scraped):
    scraped.node.bad = [
        BadEntity("plugins", "1", "x", "acl"),
        BadEntity("plugins", "2", "x", "acl"),
        BadEntity("plugins", "3", "x", None),
        BadEntity("routes", "4", "x", "acl"),
    ]
    assert await scraped.value("gateway_plugins_left_out", plugin="acl") == 2
    assert await scraped.value("gateway_plugins_left_out", plugin="") == 1


async def test_bad_entities_are_counted_by_kind(scraped: Scraped):
    scraped.node.bad = [
        BadEntity("services", "1", "x"),
        BadEntity("routes", "2", "x"),
        BadEntity("routes", "3", "x"),
    ]
    assert (await scraped.samples())["gateway_config_bad_entities"] == [
        ({"entity": "routes"}, 2),
        ({"entity": "services"}, 1),
    ]


async def test_the_node_introduces_itself(scraped: Scraped):
    ((labels, value),) = (await scraped.samples())["gateway_node_info"]
    assert (labels["node_id"], labels["node_name"], value) == (str(NODE_ID), "node-a", 1)


async def test_with_compat_kong_the_names_are_kongs(kongs: Scraped):
    kongs.node.load(1)
    route_id = kongs.add_route("orders", "all")
    kongs.request(route_id, "orders", "all")
    kongs.traffic.of_route(route_id, "orders", "all").count(404, False, 1, 1)
    samples = await kongs.samples()
    assert {labels["source"] for labels, _ in samples["kong_http_requests_total"]} == {
        "service",
        "kong",
    }
    for name in (
        "kong_bandwidth_bytes",
        "kong_kong_latency_ms_bucket",
        "kong_upstream_latency_ms_bucket",
        "kong_request_latency_ms_bucket",
        "kong_datastore_reachable",
        "kong_node_info",
        "kong_nginx_connections_total",
    ):
        assert name in samples
    assert not [n for n in samples if not n.startswith(("kong_", "process_"))]


async def test_both_modes_tell_the_same_things(scraped: Scraped, kongs: Scraped):
    ours = {name.removeprefix("gateway_") for name in await scraped.families()}
    theirs = {name.removeprefix("kong_") for name in await kongs.families()}
    assert ours - theirs == {"own_latency_ms", "connections", "requests"}
    renamed = {"kong_latency_ms", "nginx_connections_total", "nginx_requests"}
    assert theirs - ours == renamed | {"memory_workers_lua_vms_bytes"}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("kong_http_requests_total", {"service", "route", "code"}),
        ("kong_kong_latency_ms_bucket", {"service", "route", "le"}),
        ("kong_request_latency_ms_bucket", {"service", "route", "le"}),
        ("kong_upstream_latency_ms_bucket", {"service", "route", "le"}),
        ("kong_bandwidth_bytes", {"service", "route", "direction"}),
        ("kong_memory_workers_lua_vms_bytes", {"pid", "kong_subsystem"}),
        ("kong_upstream_target_health", {"upstream", "target", "address", "state"}),
        ("kong_nginx_connections_total", {"state"}),
    ],
)
async def test_kongs_dashboard_finds_what_it_asks_for(kongs: Scraped, name: str, labels: set[str]):
    kongs.request(kongs.add_route("s", "r"))
    kongs.traffic.health_wanted = 1
    kongs.node.health.upstreams = [an_upstream("orders", dns_error="no such name")]
    samples = (await kongs.samples())[name]
    assert all(labels <= found.keys() for found, _ in samples)


async def test_what_was_not_fresh_enough_is_counted(scraped: Scraped):
    scraped.traffic.min_version_waits = 3
    scraped.traffic.min_version_timeouts = 1
    scraped.traffic.stale_refusals = 2
    name = "gateway_min_version_requests_total"
    assert await scraped.value(name, outcome="waited") == 3
    assert await scraped.value(name, outcome="timed_out") == 1
    assert await scraped.value("gateway_stale_refusals_total") == 2

"""Counters of the hot path: buckets, labels, and series that come and go with their route."""

from __future__ import annotations

from uuid import uuid4

import pytest

from gateway.metrics import traffic as traffic_module
from gateway.metrics.apply import BUCKETS_MS, ApplyMetrics
from gateway.metrics.traffic import OWN_BUCKETS_MS, RouteTraffic, TrafficMetrics, new_histogram
from gateway.metrics.traffic import observe as observed

BOUNDS = (1, 5, 10)


@pytest.mark.parametrize(
    ("value", "bucket"), [(0, 0), (1, 0), (1.01, 1), (5, 1), (10, 2), (10.5, 3), (1e9, 3)]
)
def test_a_value_falls_into_the_bucket_whose_bound_it_does_not_pass(value: float, bucket: int):
    histogram = new_histogram(BOUNDS)
    observed(histogram, BOUNDS, value)
    *counts, total = histogram
    assert counts == [float(index == bucket) for index in range(4)]
    assert total == value


def test_requests_are_counted_by_status_and_by_who_answered():
    traffic = RouteTraffic("s", "r")
    traffic.count(200, True, 10, 100)
    traffic.count(200, True, 10, 100)
    traffic.count(503, True, 1, 2)
    traffic.count(503, False, 1, 2)
    assert sorted(traffic.requests()) == [(200, True, 2), (503, False, 1), (503, True, 1)]
    assert (traffic.ingress_bytes, traffic.egress_bytes) == (22, 204)


def test_a_request_without_a_target_has_no_upstream_latency():
    traffic = RouteTraffic("s", "r")
    traffic.observe_latencies(30.0, 2.0, None)
    traffic.observe_latencies(50.0, 3.0, 40.0)
    assert traffic.request_ms[-1] == 80.0
    assert traffic.own_ms[-1] == 5.0
    assert sum(traffic.upstream_ms) == 1 + 40.0


def test_latencies_fall_into_the_buckets_that_values_fall_into():
    traffic = RouteTraffic("s", "r")
    expected = new_histogram(OWN_BUCKETS_MS)
    for value in (0.1, 1, 7, 7.5, 6000, 6001):
        traffic.observe_latencies(0, value, None)
        observed(expected, OWN_BUCKETS_MS, value)
    assert traffic.own_ms == expected


def test_a_route_keeps_its_counters_until_its_labels_change():
    metrics, route_id = TrafficMetrics(), uuid4()
    counters = metrics.of_route(route_id, "s", "r")
    assert metrics.of_route(route_id, "s", "r") is counters
    renamed = metrics.of_route(route_id, "s", "renamed")
    assert renamed is not counters
    assert list(metrics) == [renamed]
    assert list(metrics.of_route(route_id, "other", "renamed").requests()) == []


def test_the_counters_of_a_deleted_route_are_forgotten():
    metrics, kept, gone = TrafficMetrics(), uuid4(), uuid4()
    metrics.of_route(gone, "s", "gone").count(200, True, 1, 1)
    counters = metrics.of_route(kept, "s", "kept")
    metrics.forget_all_but({kept}.__contains__)
    assert list(metrics) == [counters]
    assert list(metrics.of_route(gone, "s", "gone").requests()) == []


def test_counters_may_change_while_they_are_read():
    """A scrape reads in slices, and requests go on in between."""
    metrics = TrafficMetrics()
    for number in range(3):
        metrics.of_route(uuid4(), "s", f"r{number}").count(200, True, 1, 1)
    seen = []
    for traffic in metrics:
        metrics.of_route(uuid4(), "s", f"later{len(seen)}")
        for status, _, _ in traffic.requests():
            traffic.count(status + 1, True, 1, 1)
        seen.append(traffic.route)
    assert seen == ["r0", "r1", "r2"]


def test_applies_are_counted_in_milliseconds():
    applies = ApplyMetrics()
    applies.observe(0.004, 0.3)
    applies.observe(0.004, None)
    assert applies.duration_ms[BUCKETS_MS.index(5)] == 2
    assert applies.duration_ms[-1] == pytest.approx(8)
    assert applies.propagation_ms[BUCKETS_MS.index(500)] == 1
    assert applies.propagation_ms[-1] == pytest.approx(300)


def test_consumers_of_a_route_that_is_gone_make_room_for_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(traffic_module, "MOST_CONSUMER_SERIES", 2)
    metrics, gone, kept = TrafficMetrics(), uuid4(), uuid4()
    for route_id, consumers in ((gone, "abc"), (kept, "d")):
        metrics.of_route(route_id, "s", str(route_id))
        for consumer in consumers:
            list(metrics.of_consumer(route_id, consumer))
    assert metrics.consumer_overflows == 2
    metrics.forget_all_but(lambda route_id: route_id == kept)
    assert list(metrics.of_consumer(gone, "a")) == []
    for consumer in "efg":
        list(metrics.of_consumer(kept, consumer))
    (traffic,) = metrics
    assert set(traffic.consumers) == {traffic_module.OTHER_CONSUMERS, "e", "f"}

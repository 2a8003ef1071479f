"""What nodes and database counted between two readings."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.lab.staleness.meters import (
    NodeReading,
    Reading,
    counted,
    read_samples,
    windows_between,
)
from gateway.lab.staleness.result import Counted

METRICS = """\
# TYPE {prefix}config_syncs counter
{prefix}config_syncs_total 12.0
# TYPE {requests} counter
{requests}_total{{node_id="1",subsystem="http"}} 300.0
# TYPE {prefix}config_propagation_ms histogram
{prefix}config_propagation_ms_bucket{{le="1"}} 0.0
{prefix}config_propagation_ms_bucket{{le="5"}} 7.0
{prefix}config_propagation_ms_bucket{{le="+Inf"}} 8.0
{prefix}config_propagation_ms_count 8.0
{prefix}config_propagation_ms_sum 40.0
"""


def reading(at_s: float, transactions: int | None = None, **nodes: NodeReading) -> Reading:
    return Reading(at_s, nodes, transactions)


@pytest.mark.parametrize(
    ("prefix", "requests"),
    [("gateway_", "gateway_requests"), ("kong_", "kong_nginx_requests")],
)
def test_a_nodes_metrics_are_read_by_either_name(prefix: str, requests: str) -> None:
    families = text_string_to_metric_families(METRICS.format(prefix=prefix, requests=requests))
    assert read_samples(sample for family in families for sample in family.samples) == NodeReading(
        questions=12, requests=300, windows={1.0: 0, 5.0: 7, math.inf: 8}
    )


def test_rates_are_per_second_and_node() -> None:
    before = reading(10, 100, a=NodeReading(5, 50), b=NodeReading(7, 70))
    after = reading(20, 400, a=NodeReading(25, 150), b=NodeReading(47, 370))
    assert counted(before, after, nodes=3) == Counted(
        duration_s=10, questions=2.0, transactions=10.0, requests=pytest.approx(400 / 30)
    )


def test_who_was_not_asked_leaves_a_gap() -> None:
    assert counted(reading(0), reading(5), nodes=2) == Counted(duration_s=5)


def test_the_histogram_of_the_named_nodes_is_what_it_grew_by() -> None:
    before = reading(0, a=NodeReading(windows={1.0: 1, math.inf: 2}), b=NodeReading())
    after = reading(
        9,
        a=NodeReading(windows={1.0: 4, math.inf: 9}),
        b=NodeReading(windows={1.0: 1, math.inf: 1}),
        writer=NodeReading(windows={1.0: 100, math.inf: 100}),
    )
    assert windows_between(before, after, ["a", "b"]) == {1.0: 4, math.inf: 8}

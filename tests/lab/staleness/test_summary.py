"""Figures from results."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lab.percentiles import percentile
from gateway.lab.staleness.summary import histogram_quantile, summarize, typical

from .making import strategy

INF = math.inf


@pytest.mark.parametrize(
    ("ordered", "percent", "expected"),
    [
        ([], 50, None),
        ([7.0], 1, 7.0),
        ([7.0], 100, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 51, 3.0),
        ([1.0, 2.0, 3.0, 4.0], 99, 4.0),
    ],
)
def test_percentiles_are_values_that_were_measured(
    ordered: list[float], percent: float, expected: float | None
) -> None:
    assert percentile(ordered, percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(
    values: list[float], percent: float
) -> None:
    found = percentile(sorted(values), percent)
    enough = len(values) * percent / 100
    assert sum(value <= found for value in values) >= enough - 1e-9
    assert sum(value < found for value in values) < enough


@pytest.mark.parametrize(
    ("cumulative", "quantile", "expected"),
    [
        ({}, 0.5, None),
        ({1.0: 0, INF: 0}, 0.5, None),
        ({1.0: 0, 2.0: 10, INF: 10}, 0.5, 1.5),
        ({1.0: 5, 2.0: 10, INF: 10}, 0.5, 1.0),
        ({1.0: 10, 2.0: 10, INF: 10}, 0.5, 0.5),
        ({1.0: 0, 2.0: 0, INF: 10}, 0.5, 2.0),
        ({2.0: 4, 1.0: 2, INF: 4}, 1.0, 2.0),
    ],
)
def test_a_histogram_is_read_as_prometheus_reads_it(
    cumulative: dict[float, int], quantile: float, expected: float | None
) -> None:
    assert histogram_quantile(cumulative, quantile) == expected


@given(st.lists(st.sampled_from([0.5, 1.5, 3.0, 7.0, 40.0]), min_size=1), st.floats(0.01, 1))
def test_an_estimated_quantile_lies_in_the_bucket_of_the_true_one(
    values: list[float], quantile: float
) -> None:
    bounds = [1.0, 2.0, 5.0, 10.0, 50.0, INF]
    estimate = histogram_quantile({b: sum(v <= b for v in values) for b in bounds}, quantile)
    true = percentile(sorted(values), quantile * 100)
    upper = next(b for b in bounds if true <= b)
    lower = max((b for b in bounds if b < true), default=0.0)
    assert lower <= estimate <= upper


def test_a_summary_is_over_all_changes_and_nodes() -> None:
    summary = summarize(strategy("notify", [[4.0, 5.0], [6.0, 7.0], [8.0, 30.0]]))
    assert (summary.observed, summary.missed, summary.failed_answers) == (6, 0, 0)
    assert (summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.max_ms) == (6, 30, 30, 30)
    assert summary.stale_answers == pytest.approx((3 + 4 + 5 + 6 + 7 + 29) / 6)
    assert summary.own_p50_ms == 7.5
    assert summary.resolution_ms == 2.0


def test_what_a_node_never_showed_is_missed_and_no_window() -> None:
    summary = summarize(strategy("poll:1s", [[4.0, None], [None, None]]))
    assert (summary.observed, summary.missed, summary.max_ms) == (1, 3, 4.0)


def test_without_changes_nothing_is_known() -> None:
    summary = summarize(strategy("poll:1s", [[None]]))
    assert (summary.p50_ms, summary.max_ms, summary.resolution_ms) == (None, None, None)


def test_the_typical_change_is_the_one_of_median_window() -> None:
    changes = strategy("notify", [[1.0, 90.0], [5.0, 6.0], [None, 1.0], [2.0, 3.0]]).changes
    assert typical(changes).number == 2
    assert typical(strategy("notify", [[None]]).changes) is None

"""From samples to figures."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.lab.fleet.figures import Spread, propagation

from .making import load, report, result


def test_a_spread_is_in_milliseconds() -> None:
    assert Spread.of([0.001 * number for number in range(100, 0, -1)]) == Spread(
        100, pytest.approx(50), pytest.approx(99), pytest.approx(100)
    )


def test_there_is_no_spread_of_nothing() -> None:
    assert Spread.of([]) is None


def test_an_apply_of_several_versions_ends_the_stale_window_of_each() -> None:
    found = propagation([report("a", (4, 7, 10.0))], {5: 9.0, 6: 9.5, 7: 9.9})
    assert found.each == Spread(3, pytest.approx(500), pytest.approx(1000), pytest.approx(1000))
    assert found.missed == 0


def test_the_slowest_node_says_when_a_change_is_everywhere() -> None:
    nodes = [report("fast", (4, 5, 1.1), (5, 6, 2.1)), report("slow", (4, 5, 1.4), (5, 6, 2.2))]
    found = propagation(nodes, {5: 1.0, 6: 2.0})
    assert found.each is not None
    assert found.each.count == 4
    assert found.everywhere == Spread(2, pytest.approx(200), pytest.approx(400), pytest.approx(400))


@pytest.mark.parametrize(
    ("applies", "missed"),
    [([], 2), ([(4, 5, 1.0)], 1), ([(4, 6, 1.0)], 0), ([(4, 5, 1.0), (5, 9, 2.0)], 0)],
)
def test_a_change_that_a_node_never_applied_is_missed(
    applies: list[tuple[int, int, float]], missed: int
) -> None:
    assert propagation([report("a", *applies)], {5: 0.0, 6: 0.0}).missed == missed


def test_without_changes_there_are_no_windows() -> None:
    found = propagation([report("a")], {})
    assert (found.each, found.everywhere, found.missed) == (None, None, 0)


@pytest.mark.parametrize(
    ("figures", "limit"),
    [
        ({}, ""),
        ({"simulator_cores": [0.2, 0.95]}, "simulators"),
        ({"simulator_cores": [0.95], "machine_busy": 1.0}, "simulators"),
        ({"machine_busy": 0.99}, "machine"),
    ],
)
def test_it_shows_when_something_else_than_the_database_is_at_its_limit(
    figures: dict[str, Any], limit: str
) -> None:
    assert load(**figures).limited_by == limit


def test_costs_are_per_node_and_the_cost_of_a_change_comes_on_top_of_idling() -> None:
    found = result(nodes=10, idle=load(database_cores=0.1), changing=load(database_cores=0.6))
    assert found.idle_cost_ms == pytest.approx(10)
    assert found.change_cost_ms == pytest.approx(1000 * 0.5 * 10 / (50 * 10))


def test_the_costs_of_somebody_elses_server_are_unknown() -> None:
    unknown = load(database_cores=None)
    found = result(idle=unknown, changing=unknown)
    assert (found.idle_cost_ms, found.change_cost_ms) == (None, None)

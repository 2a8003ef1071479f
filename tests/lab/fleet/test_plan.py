"""Cells of a run, and what they ask of the machine."""

from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lab.cluster import LabError
from gateway.lab.fleet import plan
from gateway.lab.strategies import parse_strategies, parse_strategy

from .making import cell


@pytest.mark.parametrize(
    ("nodes", "sizes"),
    [
        (1000, [10, 100, 1000]),
        (3000, [10, 100, 1000, 3000]),
        (500, [10, 100, 500]),
        (10, [10]),
        (5, [5]),
    ],
)
def test_fleets_grow_by_the_usual_sizes_up_to_the_largest(nodes: int, sizes: list[int]) -> None:
    assert plan.sizes_up_to(nodes) == sizes


def test_sizes_are_sorted_and_each_measured_once() -> None:
    assert plan.parse_sizes("100, 10,100") == [10, 100]


@pytest.mark.parametrize("text", ["", "ten", "10,", "10;20", "1.5"])
def test_what_is_no_list_of_sizes_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LabError, match="10,100,1000"):
        plan.parse_sizes(text)


@pytest.mark.parametrize("text", ["0", "-5,10"])
def test_a_fleet_without_nodes_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="at least one node"):
        plan.parse_sizes(text)


def test_a_strategy_is_measured_with_all_sizes_before_the_next() -> None:
    found = plan.cells(parse_strategies("poll:1s,notify"), [10, 100])
    assert [cell.label for cell in found] == [
        "poll:1s with 10 nodes",
        "poll:1s with 100 nodes",
        "notify with 10 nodes",
        "notify with 100 nodes",
    ]


@pytest.mark.parametrize(
    ("strategy", "connections"), [("poll:5s", 2), ("notify", 3), ("hybrid", 0), ("theirs", 3)]
)
def test_the_server_has_a_place_for_every_connection(strategy: str, connections: int) -> None:
    assert plan.connections_per_node(parse_strategy(strategy)) == connections
    assert cell(strategy, 1000).max_connections > 1000 * connections


@given(st.integers(1, 500), st.integers(1, 8))
def test_every_node_is_simulated_once_and_the_work_is_even(nodes: int, workers: int) -> None:
    names = [f"n{number}" for number in range(nodes)]
    shares = plan.share(names, workers)
    assert sorted(name for share in shares for name in share) == sorted(names)
    sizes = [len(share) for share in shares]
    assert min(sizes) >= max(sizes) - 1
    assert min(sizes) > 0


def test_too_few_open_files_are_noticed_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    shares = plan.share([f"n{number}" for number in range(1000)], 2)
    plan.check_files(shares, parse_strategy("hybrid"))
    with pytest.raises(LabError, match=r"1600 open files.*1024.*--workers"):
        plan.check_files(shares, parse_strategy("notify"))

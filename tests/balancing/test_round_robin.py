"""Weighted round-robin: exact shares, retries elsewhere, no one starved, no wheel built."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.balancing import Balancer
from gateway.balancing.round_robin import RoundRobin

from .endpoints import endpoints, name_of, over, picks, shares


def among(**weights: int) -> Balancer:
    return over(RoundRobin(), endpoints(weights))


def test_equal_weights_take_turns() -> None:
    picked = picks(among(a=100, b=100, c=100), 9)
    assert picked[:3] == picked[3:6] == picked[6:]
    assert set(picked[:3]) == {"a", "b", "c"}


def test_shares_follow_the_weights_over_each_full_turn() -> None:
    balancer = among(a=100, b=50, c=0)
    for _ in range(5):
        assert shares(balancer, 3) == {"a": 2, "b": 1}


def test_a_heavy_endpoint_does_not_take_its_share_in_one_run() -> None:
    picked = picks(among(a=4, b=2, c=2), 80)
    assert "aaa" not in "".join(map(str, picked))


@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": 0, "b": 0}])
def test_without_any_weight_there_is_nobody(weights: dict[str, int]) -> None:
    assert picks(among(**weights), 1) == [None]


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 1}, {"a": 65535, "b": 3, "c": 1}])
def test_a_retry_goes_to_an_endpoint_that_has_not_failed(weights: dict[str, int]) -> None:
    members = endpoints(weights)
    balancer = over(RoundRobin(), members)
    assert set(picks(balancer, 20, exclude=[members["a"]])) <= {"b", "c"}
    assert set(picks(balancer, 20, exclude=[members["a"], members["c"]])) == {"b"}


@pytest.mark.parametrize("weights", [{"a": 1}, {"a": 1, "b": 1}, {"a": 5, "b": 1}])
def test_when_all_have_failed_each_may_come_again(weights: dict[str, int]) -> None:
    members = endpoints(weights)
    assert picks(over(RoundRobin(), members), 1, exclude=members.values())[0] in weights


def test_an_endpoint_without_weight_does_not_step_in_for_failed_ones() -> None:
    members = endpoints({"a": 1, "b": 0})
    assert picks(over(RoundRobin(), members), 1, exclude=[members["a"]]) == ["a"]


def test_retries_take_no_turns_so_a_failing_one_keeps_to_its_share_of_first_tries() -> None:
    members = endpoints({"a": 3, "b": 2})
    balancer = over(RoundRobin(), members)
    first_tries: Counter[str | None] = Counter()
    for _ in range(50):
        endpoint = balancer.pick(0.0)
        first_tries[name_of(endpoint)] += 1
        if endpoint is members["a"]:
            assert balancer.pick(0.0, (members["a"],)) is members["b"]
    assert first_tries == {"a": 30, "b": 20}


def test_retries_are_spread_by_weight_over_what_is_left() -> None:
    members = endpoints({"a": 1, "b": 300, "c": 100})
    retries = Counter(picks(over(RoundRobin(), members), 2000, exclude=[members["a"]]))
    assert retries["b"] > retries["c"] > 0


def test_balancers_of_many_nodes_do_not_start_in_step() -> None:
    assert len({picks(among(a=1, b=1, c=1), 1)[0] for _ in range(200)}) == 3
    assert len({picks(among(a=3, b=2, c=2), 1)[0] for _ in range(200)}) == 3


def test_who_is_not_available_is_left_out_until_it_is_back() -> None:
    members = endpoints({"a": 1, "b": 1})
    balancer = over(RoundRobin(), members)
    members["a"].available = False
    assert shares(over(balancer, members), 10) == {"b": 10}
    members["a"].available = True
    assert shares(over(balancer, members), 10) == {"a": 5, "b": 5}


def test_the_place_in_the_turn_is_kept_when_nothing_has_changed() -> None:
    members = endpoints({"a": 1, "b": 1, "c": 1})
    balancer = over(RoundRobin(), members)
    picked = [picks(over(balancer, members), 1)[0] for _ in range(6)]
    assert picked[:3] == picked[3:]
    assert set(picked) == {"a", "b", "c"}


weights_lists = st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any)


def of_list(weights: list[int], factor: int = 1) -> Balancer:
    return among(**{str(i): weight * factor for i, weight in enumerate(weights)})


@given(weights_lists, st.integers(1, 1000))
def test_every_full_turn_is_exact(weights: list[int], factor: int) -> None:
    balancer = of_list(weights, factor)
    divisor = gcd(*weights)
    for _ in range(3):
        turn = shares(balancer, sum(weights) // divisor)
        assert turn == Counter({str(i): w // divisor for i, w in enumerate(weights) if w})


@given(weights_lists)
def test_no_endpoint_waits_longer_than_its_share_allows(weights: list[int]) -> None:
    picked = picks(of_list(weights), 4 * sum(weights))
    for index, weight in enumerate(weights):
        if weight:
            at = [i for i, other in enumerate(picked) if other == str(index)]
            longest_wait = max(b - a for a, b in zip([-1, *at], at, strict=False))
            assert longest_wait <= 2 * sum(weights) / weight + len(weights)


def test_a_thousand_coprime_weights_need_no_wheel() -> None:
    members = endpoints({str(i): 65535 - i for i in range(1000)})
    tracemalloc.start()
    balancer = over(RoundRobin(), members)
    size_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size_bytes < 400_000
    assert len(set(picks(balancer, 2000))) > 900

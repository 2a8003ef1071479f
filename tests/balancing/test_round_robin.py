"""Weighted round-robin: exact shares, retries elsewhere, no one starved, no wheel built."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.balancing import Balancer, WeightedRoundRobin


def over(**weights: int) -> WeightedRoundRobin[str]:
    return WeightedRoundRobin(list(weights.items()))


def picks(balancer: Balancer[str], count: int) -> list[str]:
    picked = [balancer.pick() for _ in range(count)]
    return [target for target in picked if target is not None]


def test_equal_weights_take_turns() -> None:
    picked = picks(over(a=100, b=100, c=100), 9)
    assert picked[:3] == picked[3:6] == picked[6:]
    assert set(picked[:3]) == {"a", "b", "c"}


def test_shares_follow_the_weights_over_each_full_turn() -> None:
    balancer = over(a=100, b=50, c=0)
    for _ in range(5):
        assert Counter(picks(balancer, 3)) == {"a": 2, "b": 1}


def test_a_heavy_target_does_not_take_its_share_in_one_run() -> None:
    picked = picks(over(a=4, b=2, c=2), 80)
    assert "aaa" not in "".join(picked)


@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": 0, "b": 0}])
def test_without_any_weight_there_is_no_target(weights: dict[str, int]) -> None:
    assert over(**weights).pick() is None


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 1}, {"a": 65535, "b": 3, "c": 1}])
def test_a_retry_goes_to_a_target_that_has_not_failed(weights: dict[str, int]) -> None:
    balancer = over(**weights)
    for _ in range(20):
        assert balancer.pick(exclude={"a"}) in {"b", "c"}
        assert balancer.pick(exclude={"a", "c"}) == "b"


@pytest.mark.parametrize("weights", [{"a": 1}, {"a": 1, "b": 1}, {"a": 5, "b": 1}])
def test_when_all_have_failed_each_may_come_again(weights: dict[str, int]) -> None:
    assert over(**weights).pick(exclude=set(weights)) in weights


def test_a_target_without_weight_does_not_step_in_for_failed_ones() -> None:
    assert over(a=1, b=0).pick(exclude={"a"}) == "a"


def test_retries_take_no_turns_so_a_failing_target_keeps_to_its_share_of_first_tries() -> None:
    balancer = over(a=3, b=2)
    first_tries: Counter[str | None] = Counter()
    for _ in range(50):
        target = balancer.pick()
        first_tries[target] += 1
        if target == "a":
            assert balancer.pick(exclude={"a"}) == "b"
    assert first_tries == {"a": 30, "b": 20}


def test_retries_are_spread_by_weight_over_what_is_left() -> None:
    balancer = over(a=1, b=300, c=100)
    retries = Counter(balancer.pick(exclude=["a"]) for _ in range(2000))
    assert retries["b"] > retries["c"] > 0


def test_balancers_of_many_nodes_do_not_start_in_step() -> None:
    assert len({over(a=1, b=1, c=1).pick() for _ in range(200)}) == 3
    assert len({over(a=3, b=2, c=2).pick() for _ in range(200)}) == 3


weights_lists = st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any)


@given(weights_lists, st.integers(1, 1000))
def test_every_full_turn_is_exact(weights: list[int], factor: int) -> None:
    balancer = WeightedRoundRobin([(i, weight * factor) for i, weight in enumerate(weights)])
    divisor = gcd(*weights)
    for _ in range(3):
        turn = Counter(balancer.pick() for _ in range(sum(weights) // divisor))
        assert turn == Counter({i: w // divisor for i, w in enumerate(weights) if w})


@given(weights_lists)
def test_no_target_waits_longer_than_its_share_allows(weights: list[int]) -> None:
    balancer = WeightedRoundRobin(list(enumerate(weights)))
    picked = [balancer.pick() for _ in range(4 * sum(weights))]
    for target, weight in enumerate(weights):
        if weight:
            at = [i for i, other in enumerate(picked) if other == target]
            longest_wait = max(b - a for a, b in zip([-1, *at], at, strict=False))
            assert longest_wait <= 2 * sum(weights) / weight + len(weights)


@given(weights_lists, st.data())
def test_a_pick_is_never_an_excluded_target_while_another_is_left(
    weights: list[int], data: st.DataObject
) -> None:
    balancer = WeightedRoundRobin(list(enumerate(weights)))
    usable = {i for i, weight in enumerate(weights) if weight}
    for _ in range(10):
        exclude = data.draw(st.sets(st.sampled_from(range(len(weights)))))
        assert balancer.pick(exclude) in (usable - exclude or usable)


def test_a_thousand_coprime_weights_need_no_wheel() -> None:
    tracemalloc.start()
    balancer = WeightedRoundRobin([(i, 65535 - i) for i in range(1000)])
    size_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size_bytes < 400_000
    assert len({balancer.pick() for _ in range(2000)}) > 900

"""Least connections: what is in flight decides, and its end has to be told."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.balancing import Endpoint
from gateway.balancing.least_connections import LeastConnections

from .endpoints import endpoints, over, picks, shares


def balancer_over(members: dict[str, Endpoint]) -> LeastConnections:
    balancer = LeastConnections()
    over(balancer, members)
    return balancer


def picked(balancer: LeastConnections, *exclude: Endpoint) -> Endpoint:
    endpoint = balancer.pick(0.0, exclude, None)
    assert endpoint is not None
    return endpoint


def test_equals_take_turns() -> None:
    assert shares(balancer_over(endpoints({"a": 1, "b": 1, "c": 1})), 9) == {"a": 3, "b": 3, "c": 3}


def test_who_is_busy_gets_nothing_more_until_the_others_are() -> None:
    members = endpoints({"a": 1, "b": 1})
    balancer = balancer_over(members)
    slow = picked(balancer)
    quick = next(e for e in members.values() if e is not slow)
    for _ in range(3):
        assert picked(balancer) is quick
        balancer.left(quick)
    assert picked(balancer) is quick
    picked(balancer), picked(balancer)
    assert (slow.in_flight, quick.in_flight) == (2, 2)


def test_a_heavier_one_carries_more() -> None:
    balancer = balancer_over(endpoints({"a": 3, "b": 1, "c": 0}))
    assert Counter(picked(balancer).host for _ in range(40)) == {"a": 30, "b": 10}


def test_counts_outlive_changes_of_weight_and_membership() -> None:
    members = endpoints({"a": 1, "b": 1})
    balancer = balancer_over(members)
    picked(balancer), picked(balancer)
    members |= endpoints({"c": 1})
    over(balancer, members)
    assert picked(balancer) is members["c"]
    members["a"].weight = 10
    over(balancer, members)
    assert picked(balancer) is members["a"]


def test_the_end_of_a_try_may_be_told_after_its_endpoint_has_gone() -> None:
    members = endpoints({"a": 1, "b": 1})
    balancer = balancer_over(members)
    endpoint = picked(balancer)
    over(balancer, {name: e for name, e in members.items() if e is not endpoint})
    balancer.left(endpoint)
    assert endpoint.in_flight == 0


def test_failed_ones_are_passed_over_until_all_have_failed() -> None:
    members = endpoints({"a": 1, "b": 1})
    a, b = members.values()
    balancer = balancer_over(members)
    assert picked(balancer, a) is b
    assert picked(balancer, a) is b
    assert picked(balancer, a, b) is a


@pytest.mark.parametrize("weights", [{}, {"a": 0}])
def test_without_any_weight_there_is_nobody(weights: dict[str, int]) -> None:
    assert picks(balancer_over(endpoints(weights)), 1) == [None]


steps = st.lists(
    st.tuples(st.sampled_from(["pick", "end", "away", "back"]), st.integers(0, 9)), max_size=60
)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), steps)
def test_nobody_with_more_in_flight_for_its_weight_is_picked(
    weights: list[int], steps: list[tuple[str, int]]
) -> None:
    members = endpoints({str(i): weight for i, weight in enumerate(weights)})
    balancer = balancer_over(members)
    in_flight: list[Endpoint] = []
    for step, number in steps:
        one = members[str(number % len(weights))]
        if step == "pick":
            usable = [e for e in members.values() if e.available and e.weight]
            load = {e: (e.in_flight + 1) / e.weight for e in usable}
            endpoint = balancer.pick(0.0, (), None)
            if endpoint is None:
                assert not usable
            else:
                assert load[endpoint] == min(load.values())
                in_flight.append(endpoint)
        elif step == "end" and in_flight:
            balancer.left(in_flight.pop(number % len(in_flight)))
        else:
            one.available = step != "away"
            over(balancer, members)
    assert Counter(in_flight) == Counter({e: e.in_flight for e in members.values() if e.in_flight})


def test_tries_of_an_algorithm_that_was_given_up_still_count() -> None:
    members = endpoints({"a": 1, "b": 1})
    before = balancer_over(members)
    busy = picked(before)
    members |= endpoints({"c": 1, "d": 1})
    after = balancer_over(members)
    first = [picked(after) for _ in range(3)]
    assert busy not in first
    before.left(busy)
    assert picked(after) is busy

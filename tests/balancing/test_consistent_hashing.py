"""Consistent hashing: the same for all nodes, and as little as possible moves."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.balancing import Endpoint
from gateway.balancing.consistent_hashing import ConsistentHashing

from .endpoints import endpoints, name_of, over

VALUES = [b"user-%d" % number for number in range(10_000)]

Weights = dict[str, int]


def balancer_over(members: dict[str, Endpoint], slots: int = 10_000) -> ConsistentHashing:
    balancer = ConsistentHashing(slots)
    over(balancer, members)
    return balancer


def among(weights: Weights, slots: int = 10_000) -> ConsistentHashing:
    return balancer_over(endpoints(weights), slots)


def homes(balancer: ConsistentHashing, *exclude: Endpoint) -> dict[bytes, str | None]:
    return {value: name_of(balancer.pick(0.0, exclude, value)) for value in VALUES}


def share(homes: dict[bytes, str | None], name: str) -> float:
    return list(homes.values()).count(name) / len(homes)


def moved(before: dict[bytes, str | None], after: dict[bytes, str | None]) -> float:
    return sum(before[value] != after[value] for value in before) / len(before)


TEN = {f"t{number}": 100 for number in range(10)}


def test_equal_values_go_the_same_way_on_every_node_whatever_the_order() -> None:
    expected = homes(among(TEN))
    names = list(TEN)
    for seed in range(3):
        random.Random(seed).shuffle(names)
        assert homes(among({name: TEN[name] for name in names})) == expected


def test_it_does_not_matter_how_a_node_came_to_its_endpoints() -> None:
    members = endpoints(TEN | {"old": 50})
    balancer = balancer_over(members)
    homes(balancer)
    del members["old"]
    over(balancer, members)
    members["t3"].weight = 7
    over(balancer, members)
    assert homes(balancer) == homes(among(TEN | {"t3": 7}))


def test_the_homes_of_values_are_known_for_all_versions() -> None:
    """Nodes of different versions, and of different machines, have to agree."""
    balancer = among(TEN)
    found = [name_of(balancer.pick(0.0, (), b"%d" % number)) for number in range(8)]
    assert found == ["t3", "t5", "t7", "t7", "t7", "t6", "t9", "t5"]


def test_shares_follow_the_weights() -> None:
    weights = {"a": 100, "b": 200, "c": 700, "d": 0}
    shares = {name: share(homes(among(weights)), name) for name in weights}
    assert shares == {
        "a": pytest.approx(0.1, abs=0.02),
        "b": pytest.approx(0.2, abs=0.02),
        "c": pytest.approx(0.7, abs=0.02),
        "d": 0,
    }


def test_one_that_comes_takes_its_share_and_nothing_else_moves() -> None:
    before, after = homes(among(TEN)), homes(among(TEN | {"new": 100}))
    assert moved(before, after) == share(after, "new") == pytest.approx(1 / 11, abs=0.02)


def test_one_that_goes_leaves_its_share_and_nothing_else_moves() -> None:
    before = homes(among(TEN))
    after = homes(among({name: weight for name, weight in TEN.items() if name != "t4"}))
    assert moved(before, after) == share(before, "t4") == pytest.approx(0.1, abs=0.02)
    heirs = [after[value] for value in VALUES if before[value] == "t4"]
    assert {heirs.count(name) > 50 for name in TEN if name != "t4"} == {True}


def test_a_new_weight_moves_the_difference() -> None:
    before, after = homes(among(TEN)), homes(among(TEN | {"t4": 200}))
    gain = share(after, "t4") - share(before, "t4")
    assert moved(before, after) == pytest.approx(gain)
    assert gain == pytest.approx(2 / 11 - 1 / 10, abs=0.02)


def test_while_one_is_away_others_stand_in_for_it_alone() -> None:
    members = endpoints(TEN)
    balancer = balancer_over(members)
    before = homes(balancer)
    members["t4"].available = False
    over(balancer, members)
    during = homes(balancer)
    assert moved(before, during) == share(before, "t4")
    assert during == homes(among({name: w for name, w in TEN.items() if name != "t4"}))
    members["t4"].available = True
    over(balancer, members)
    assert homes(balancer) == before


def test_a_retry_goes_where_the_value_would_go_without_the_failed_one() -> None:
    members = endpoints(TEN)
    balancer = balancer_over(members)
    retries = homes(balancer, members["t4"])
    assert retries == homes(among({name: w for name, w in TEN.items() if name != "t4"}))
    assert homes(balancer, *members.values()) == homes(balancer)


def test_a_retry_avoids_who_is_away_even_when_all_others_have_failed() -> None:
    members = endpoints({"a": 1, "b": 1})
    members["a"].available = False
    assert set(homes(balancer_over(members), members["b"]).values()) == {"b"}


def test_a_request_without_a_value_takes_its_turn() -> None:
    balancer = among({"a": 1, "b": 1})
    picked = [name_of(balancer.pick(0.0, (), None)) for _ in range(10)]
    assert sorted(map(str, picked)) == ["a"] * 5 + ["b"] * 5


@pytest.mark.parametrize("weights", [{}, {"a": 0}])
def test_without_any_weight_there_is_nobody(weights: Weights) -> None:
    balancer = among(weights)
    assert balancer.pick(0.0, (), b"value") is None
    assert balancer.pick(0.0, (), None) is None


def test_when_all_are_away_there_is_nobody() -> None:
    members = endpoints({"a": 1})
    balancer = balancer_over(members)
    members["a"].available = False
    over(balancer, members)
    assert balancer.pick(0.0, (), b"value") is None


def test_few_slots_are_made_a_thousand() -> None:
    assert share(homes(among({"a": 1, "b": 1}, slots=10)), "a") == pytest.approx(0.5, abs=0.1)


weights_by_name = st.dictionaries(
    st.sampled_from([f"t{number}" for number in range(8)]), st.integers(0, 300), min_size=1
)


@settings(deadline=None, max_examples=25)
@given(weights_by_name, st.sampled_from([f"t{number}" for number in range(8)]), st.integers(0, 300))
def test_only_what_goes_to_or_from_the_changed_one_moves(
    weights: Weights, changed: str, weight: int
) -> None:
    values = VALUES[:300]
    before, after = among(weights, 1000), among(weights | {changed: weight}, 1000)
    for value in values:
        homes = name_of(before.pick(0.0, (), value)), name_of(after.pick(0.0, (), value))
        assert homes[0] == homes[1] or changed in homes

"""A group: members come and go, and what is known of those that stay is kept."""

from __future__ import annotations

import pytest

from gateway.balancing import Balancing, Endpoint, Group, HashInput, HashOn

from .endpoints import member, name_of


def group_of(*names: str, **balancing: object) -> Group:
    group = Group(Balancing(**balancing))  # type: ignore[arg-type]
    group.arrange([member(name) for name in names])
    return group


def pick(group: Group, value: bytes | None = None) -> Endpoint | None:
    return group.pick(0.0, (), value)


def picked(group: Group, times: int = 10) -> set[str | None]:
    return {name_of(pick(group)) for _ in range(times)}


def endpoint(group: Group, name: str) -> Endpoint:
    [found] = [e for e in group.endpoints.values() if e.host == name]
    return found


def test_an_empty_group_has_nobody() -> None:
    assert picked(Group(Balancing())) == {None}


def test_members_that_stay_are_the_same_endpoints_with_what_is_new_about_them() -> None:
    group = group_of("a", "b")
    before = endpoint(group, "a")
    before.in_flight = 7
    group.arrange([member("a", 3, b"new"), member("c")])
    after = endpoint(group, "a")
    assert after is before
    assert (after.in_flight, after.weight, after.host_header["http"]) == (7, 3, b"new")
    assert picked(group, 103) == {"a", "c"}


@pytest.mark.parametrize(
    "algorithm", ["round-robin", "least-connections", "latency", "consistent-hashing"]
)
def test_who_is_not_available_has_no_traffic(algorithm: str) -> None:
    group = group_of("a", "b", algorithm=algorithm)
    group.set_available(endpoint(group, "a"), False)
    assert picked(group) == {"b"}
    group.set_available(endpoint(group, "b"), False)
    assert picked(group) == {None}
    group.set_available(endpoint(group, "a"), True)
    assert picked(group) == {"a"}


# balancer.md section 5, for four equal endpoints: threshold → how many have to be available.
@pytest.mark.parametrize(("threshold", "least"), [(0, 1), (25, 2), (75, 4), (99, 4), (100, 5)])
def test_with_too_little_available_there_is_nobody(threshold: int, least: int) -> None:
    group = group_of("a", "b", "c", "d", threshold=threshold)
    for available in (3, 2, 1, 0):
        group.set_available(list(group.endpoints.values())[available], False)
        assert group.is_healthy == (available >= least)
        assert (picked(group) == {None}) == (available < least)
    for available in range(4):
        group.set_available(list(group.endpoints.values())[available], True)
        assert group.is_healthy == (available + 1 >= least)


def test_another_algorithm_knows_what_is_in_flight_of_the_one_before() -> None:
    group = group_of("a", "b", algorithm="least-connections")
    listener, busy = group.listener, pick(group)
    assert listener is not None
    assert busy is not None
    group.rebalance(Balancing("latency"))
    assert pick(group) is not busy
    listener.left(busy)
    assert busy.in_flight == 0
    assert pick(group) is busy


def test_only_those_are_told_of_ends_who_need_to_know() -> None:
    group = group_of("a")
    assert group.listener is None
    group.rebalance(Balancing("latency"))
    assert group.listener is not None
    group.rebalance(Balancing("consistent-hashing"))
    assert group.listener is None


def test_the_turn_is_kept_when_something_else_changes() -> None:
    group = group_of("a", "b", "c")
    first = pick(group)
    group.rebalance(Balancing(hash_on=HashOn((HashInput("ip"),))))
    group.arrange([member(name) for name in "abc"])
    assert first not in {pick(group), pick(group)}
    assert pick(group) is first

"""A group: members come and go, and what is known of those that stay is kept."""

from __future__ import annotations

import pytest

from gateway.balancing import Balancing, Endpoint, Failure, Group, HashInput, HashOn
from gateway.balancing.departed import KEPT_LIMIT, KEPT_S
from gateway.balancing.health import Limits, Report, State
from gateway.balancing.health_checks import Criteria, HealthChecks

from .endpoints import member, name_of


def group_of(*names: str, **balancing: object) -> Group:
    group = Group(Balancing(**balancing))  # type: ignore[arg-type]
    group.arrange([member(name) for name in names])
    return group


def let(group: Group, endpoint: Endpoint, available: bool) -> None:
    group.check_health(HealthChecks(Criteria(Limits(), {}), None))
    group.mark([endpoint], healthy=available, reason="")


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
    let(group, endpoint(group, "a"), False)
    assert picked(group) == {"b"}
    let(group, endpoint(group, "b"), False)
    assert picked(group) == {None}
    let(group, endpoint(group, "a"), True)
    assert picked(group) == {"a"}


# balancer.md section 5, for four equal endpoints: threshold → how many have to be available.
@pytest.mark.parametrize(("threshold", "least"), [(0, 1), (25, 2), (75, 4), (99, 4), (100, 5)])
def test_with_too_little_available_there_is_nobody(threshold: int, least: int) -> None:
    group = group_of("a", "b", "c", "d", threshold=threshold)
    for available in (3, 2, 1, 0):
        let(group, list(group.endpoints.values())[available], False)
        assert group.is_healthy == (available >= least)
        assert (picked(group) == {None}) == (available < least)
    for available in range(4):
        let(group, list(group.endpoints.values())[available], True)
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


# -- health

FIRST_FAILURE = HealthChecks(Criteria(Limits(1, 1, 1, 1), {200: Report.SUCCESS}), None)
NO_FAILURE = HealthChecks(Criteria(Limits(), {}), None)


class Told(Group):
    """A group that remembers its turns."""

    __slots__ = ("turns",)

    def on_turn(self, endpoint: Endpoint, reason: str) -> None:
        self.turns = [*getattr(self, "turns", []), (endpoint.host, endpoint.available, reason)]


def checked(*names: str, checks: HealthChecks = FIRST_FAILURE, **balancing: object) -> Told:
    group = Told(Balancing(**balancing))  # type: ignore[arg-type]
    group.check_health(checks)
    group.arrange([member(name) for name in names])
    return group


def fail(group: Group, name: str) -> None:
    group.report(endpoint(group, name), Report.TIMEOUT, Limits(timeouts=1), "late")


def test_who_is_unhealthy_has_no_traffic_until_it_is_well_again() -> None:
    group = checked("a", "b")
    fail(group, "a")
    fail(group, "a")
    assert picked(group) == {"b"}
    group.report(endpoint(group, "a"), Report.SUCCESS, Limits(2), "fine")
    assert picked(group) == {"b"}
    group.report(endpoint(group, "a"), Report.SUCCESS, Limits(2), "fine")
    assert picked(group) == {"a", "b"}
    assert group.turns == [("a", False, "late"), ("a", True, "fine")]


def test_without_checks_nothing_is_held_against_anybody() -> None:
    group = checked("a", "b")
    fail(group, "a")
    group.check_health(None)
    assert picked(group) == {"a", "b"}
    fail(group, "a")
    assert picked(group) == {"a", "b"}


def test_other_checks_leave_health_as_it_is() -> None:
    group = checked("a", "b")
    fail(group, "a")
    group.check_health(NO_FAILURE)
    assert picked(group) == {"b"}


@pytest.mark.parametrize("algorithm", ["round-robin", "latency"])
@pytest.mark.parametrize(("checks", "is_told"), [(FIRST_FAILURE, True), (NO_FAILURE, False)])
def test_traffic_is_listened_to_where_it_counts(
    algorithm: str, checks: HealthChecks, is_told: bool
) -> None:
    group = checked("a", "b", checks=checks, algorithm=algorithm)
    assert (group.listener is not None) is (is_told or algorithm == "latency")


def test_who_listens_for_health_passes_on_what_the_algorithm_needs() -> None:
    group = checked("a", algorithm="least-connections")
    first, second, third = (pick(group) for _ in range(3))
    listener = group.listener
    assert listener is not None
    assert first is second is third is not None
    assert first.in_flight == 3
    listener.left(first)
    listener.answered(first, 200, 1.0, 0.1)
    assert (first.in_flight, first.health.state) == (1, State.HEALTHY)
    listener.failed(first, Failure.TIMEOUT, 2.0, 1.0, is_last=False)
    assert (first.in_flight, first.available) == (0, False)


# failure, whether it was the last try → what traffic is said to have shown
LAST = [
    (Failure.CONNECTION, False, Report.TCP_FAILURE),
    (Failure.CONNECTION, True, None),
    (Failure.TIMEOUT, False, Report.TIMEOUT),
    (Failure.TIMEOUT, True, Report.TIMEOUT),
]


@pytest.mark.parametrize(("failure", "is_last", "report"), LAST)
def test_what_a_failed_try_shows(failure: Failure, is_last: bool, report: Report | None) -> None:
    limits = Limits(9, 9, 9, 9)
    criteria = Criteria.by_status(limits, healthy=[200], unhealthy=[500])
    group = checked("a", checks=HealthChecks(criteria, None))
    assert group.listener is not None
    group.listener.failed(endpoint(group, "a"), failure, 0.0, 0.0, is_last=is_last)
    counts = endpoint(group, "a").health.counts
    assert [kind for kind in Report if counts[kind]] == ([] if report is None else [report])


def test_a_failed_last_try_is_judged_as_the_502_that_it_becomes() -> None:
    criteria = Criteria.by_status(Limits(9, 9, 9, 9), healthy=[200], unhealthy=[502])
    group = checked("a", checks=HealthChecks(criteria, None))
    assert group.listener is not None
    group.listener.failed(endpoint(group, "a"), Failure.CONNECTION, 0.0, 0.0, is_last=True)
    assert endpoint(group, "a").health.counts == [0, 1, 0, 0]


@pytest.mark.parametrize(("away_s", "available"), [(KEPT_S, False), (KEPT_S + 1, True)])
def test_who_comes_back_within_a_while_is_what_it_was(away_s: float, available: bool) -> None:
    group = checked("a", "b")
    fail(group, "a")
    group.arrange([member("b")], now=1000.0)
    group.arrange([member("a", 7), member("b")], now=1000.0 + away_s)
    assert endpoint(group, "a").available is available
    assert endpoint(group, "a").weight == 7


def test_of_those_who_left_so_many_are_remembered() -> None:
    names = [f"n{number}" for number in range(KEPT_LIMIT + 1)]
    group = checked(*names)
    for name in names:
        fail(group, name)
    group.arrange([])
    group.arrange([member(name) for name in names])
    assert [e.host for e in group.endpoints.values() if e.available] == ["n0"]


def test_who_is_told_of_only_after_it_left_is_remembered_if_there_was_something() -> None:
    group = checked("a", "b", checks=HealthChecks(Criteria(Limits(timeouts=2), {}), None))
    gone = endpoint(group, "a")
    group.report(gone, Report.TIMEOUT, Limits(timeouts=2), "late")
    group.arrange([member("b")])
    group.report(gone, Report.TIMEOUT, Limits(timeouts=2), "late")
    assert not hasattr(group, "turns")
    group.arrange([member("a"), member("b")])
    assert picked(group) == {"b"}

"""Latency: who answers fast gets more; who turns slow is left at once, and tried again later."""

from __future__ import annotations

import pytest

from gateway.balancing import Endpoint, Failure
from gateway.balancing.latency import DECAY_S, Latency

from .endpoints import endpoints, over, picks, shares


class Clock:
    """Requests one after another, each of which takes as long as its endpoint does."""

    def __init__(self, takes_s: dict[str, float], weights: dict[str, int] | None = None) -> None:
        self.takes_s = takes_s
        self.members = endpoints(weights or dict.fromkeys(takes_s, 1))
        self.balancer = Latency()
        over(self.balancer, self.members)
        self.now = 1000.0

    def request(self) -> str:
        endpoint = self.pick()
        self.now += self.takes_s[endpoint.host]
        self.end(endpoint, self.takes_s[endpoint.host])
        return endpoint.host

    def pick(self, *exclude: Endpoint) -> Endpoint:
        endpoint = self.balancer.pick(self.now, exclude, None)
        assert endpoint is not None
        return endpoint

    def end(self, endpoint: Endpoint, took_s: float, failure: Failure | None = None) -> None:
        if failure is None:
            self.balancer.answered(endpoint, 200, self.now, took_s)
        else:
            self.balancer.failed(endpoint, failure, self.now, took_s, is_last=True)

    def served(self, requests: int) -> list[str]:
        return [self.request() for _ in range(requests)]


def test_equals_take_turns() -> None:
    picked = Clock({"a": 0.01, "b": 0.01, "c": 0.01}).served(90)
    assert {picked.count(name) for name in "abc"} <= set(range(25, 36))


def test_the_fastest_gets_most_but_the_others_are_seen_again() -> None:
    picked = Clock({"a": 0.01, "b": 0.03, "c": 0.1}).served(3000)
    assert picked.count("a") > 2000
    assert picked.count("b") > 0
    assert picked.count("c") > 0


def test_one_slow_answer_is_enough_to_be_left() -> None:
    clock = Clock({"a": 0.01, "b": 0.01})
    clock.served(20)
    clock.takes_s["a"] = 5.0
    after = clock.served(100)
    assert after.count("a") == 1


def test_who_has_been_slow_is_tried_again_after_a_while() -> None:
    clock = Clock({"a": 0.01, "b": 0.01})
    clock.served(20)
    clock.takes_s["a"] = 1.0
    clock.served(100)
    clock.takes_s["a"] = 0.01
    clock.now += 8 * DECAY_S  # nobody asked
    assert set(clock.served(20)) == {"a", "b"}


def test_many_at_once_do_not_all_go_to_the_fastest() -> None:
    clock = Clock({"a": 0.01, "b": 0.02})
    clock.served(50)
    picked = [clock.pick().host for _ in range(30)]
    assert 18 <= picked.count("a") <= 22


def test_weights_count() -> None:
    clock = Clock({"a": 0.01, "b": 0.01}, {"a": 3, "b": 1})
    picked = [clock.pick().host for _ in range(40)]
    assert picked.count("a") == 30


def test_a_hanging_endpoint_nobody_knows_yet_does_not_draw_all_requests() -> None:
    clock = Clock({"a": 0.01, "b": 0.01})
    hanging = clock.pick()
    for _ in range(50):
        endpoint = clock.pick()
        if endpoint is not hanging:
            clock.now += 0.01
            clock.end(endpoint, 0.01)
    assert hanging.in_flight < 5


def test_a_new_endpoint_starts_with_the_mean_of_the_others() -> None:
    clock = Clock({"a": 0.01, "b": 0.04})
    clock.served(40)
    clock.members |= endpoints({"c": 1})
    over(clock.balancer, clock.members)
    a, b, c = (endpoint.step for endpoint in clock.members.values())
    assert c == pytest.approx((a + b) / 2)


def test_a_failure_is_no_fast_answer() -> None:
    clock = Clock({"a": 0.05, "b": 0.05})
    clock.served(10)
    failing = clock.members["a"]
    picked = 0
    for _ in range(100):
        endpoint = clock.pick()
        clock.now += 0.05
        if endpoint is failing:
            picked += 1
            clock.end(endpoint, 0.0001, Failure.CONNECTION)
        else:
            clock.end(endpoint, 0.05)
    assert picked < 5


def test_what_says_nothing_of_an_endpoint_changes_nothing() -> None:
    clock = Clock({"a": 0.01})
    clock.served(3)
    before = clock.members["a"].latency_s
    endpoint = clock.pick()
    clock.now += 30
    clock.balancer.left(endpoint)
    assert (endpoint.latency_s, endpoint.in_flight) == (before, 0)


def test_when_all_have_failed_there_is_no_further_try() -> None:
    clock = Clock({"a": 0.01, "b": 0.01})
    a, b = clock.members.values()
    assert clock.pick(a) is b
    assert clock.balancer.pick(clock.now, (a, b), None) is None


@pytest.mark.parametrize("weights", [{}, {"a": 0}])
def test_without_any_weight_there_is_nobody(weights: dict[str, int]) -> None:
    balancer = Latency()
    over(balancer, endpoints(weights))
    assert picks(balancer, 1) == [None]


def test_who_is_away_gets_nothing() -> None:
    members = endpoints({"a": 1, "b": 1})
    members["a"].available = False
    balancer = Latency()
    over(balancer, members)
    assert shares(balancer, 10) == {"b": 10}


def test_no_time_at_all_is_still_a_time() -> None:
    clock = Clock({"a": 0.0, "b": 0.0})
    assert set(clock.served(10)) == {"a", "b"}

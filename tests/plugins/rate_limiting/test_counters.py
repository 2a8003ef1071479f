"""The memory of counters: what it keeps, what it forgets, and when."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from gateway.plugins.rate_limiting.counters import Counters, Scope
from gateway.plugins.rate_limiting.periods import PERIODS
from tests.plugins.rate_limiting.clocks import Clock, at

_, MINUTE, HOUR, *_ = PERIODS


def count(counters: Counters, scope: Scope, *keys: int) -> None:
    """Count one request of each."""
    counts = scope.window(MINUTE).counts
    for key in keys:
        counters.admit()
        counts[key] = 1


def test_a_scope_keeps_its_windows_while_anybody_counts_there():
    clock, key = Clock(), (uuid4(), None)
    counters = Counters(clock)
    first = counters.enter(key)
    assert counters.enter(key) is first
    counters.leave(key)
    counters.turn_all(clock.now)
    assert counters.enter(key) is first


def test_a_scope_that_nobody_needs_is_kept_for_as_long_as_its_windows():
    clock, key = Clock(), (None, None)
    counters = Counters(clock)
    first = counters.enter(key)
    count(counters, first, 1)
    counters.leave(key)
    counters.turn_all(clock.now)
    assert counters.enter(key) is first
    counters.leave(key)
    clock.now += 60
    counters.turn_all(clock.now)
    assert counters.enter(key) is not first


def test_each_window_begins_anew_in_its_own_time():
    clock = Clock()
    scope = Counters(clock).enter((None, None))
    minute, hour = scope.window(MINUTE), scope.window(HOUR)
    minute.counts[1] = hour.counts[1] = 1
    assert (scope.began_at, scope.turns_at) == (minute.start, minute.end)
    scope.turn(clock.now + 30)
    assert (minute.counts, hour.counts) == ({}, {})
    assert minute.start == hour.start == at("2026-11-26 11:00:00")


def test_a_clock_that_is_set_back_leaves_no_window_in_the_future():
    clock = Clock()
    scope = Counters(clock).enter((None, None))
    scope.window(HOUR).counts[1] = 5
    clock.now = at("2020-01-01 00:00:00")
    assert not scope.began_at <= clock.now < scope.turns_at
    scope.turn(clock.now)
    assert scope.window(HOUR).counts == {}
    assert scope.window(HOUR).end == at("2020-01-01 01:00:00")


def test_counts_of_the_past_are_freed_in_bites():
    clock = Clock()
    counters = Counters(clock)
    count(counters, counters.enter((None, None)), *range(2500))
    assert counters.keys == 2500
    counters.turn_all(clock.now + 60)
    assert counters.keys == 0
    assert [counters.free_some() for _ in range(4)] == [True, True, False, False]


def test_at_the_bound_the_latest_of_the_largest_window_are_forgotten():
    counters = Counters(Clock(), most_keys=10)
    large, small = counters.enter((uuid4(), None)), counters.enter((None, uuid4()))
    count(counters, large, *range(8))
    count(counters, small, 1, 2)
    count(counters, small, 3)
    assert list(large.window(MINUTE).counts) == [0, 1, 2, 3]
    assert list(small.window(MINUTE).counts) == [1, 2, 3]
    assert counters.keys == 7
    count(counters, small, *range(4, 1000))
    assert counters.keys <= 10
    assert list(large.window(MINUTE).counts)[:1] == [0]


async def test_the_sweeper_frees_what_is_over(monkeypatch):
    monkeypatch.setattr("gateway.plugins.rate_limiting.counters._SWEEP_EVERY_S", 0)
    clock = Clock()
    counters = Counters(clock)
    count(counters, counters.enter((None, None)), *range(2500))
    clock.now += 60
    sweeping = asyncio.create_task(counters.sweep())
    for _ in range(10):
        await asyncio.sleep(0)
    assert counters.keys == 0
    assert not counters.free_some()
    sweeping.cancel()

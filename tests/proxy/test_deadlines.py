"""The wheel of deadlines, on a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.deadlines import NEVER, DeadlineWheel

TICK_S = 0.05


class Clock:
    """As much of an event loop as the wheel uses."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timer: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        self._timer = (self.now + delay_s, callback)
        return self

    def cancel(self) -> None:
        self._timer = None

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        callback(*arguments)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timer is not None and self._timer[0] <= end:
            self.now, callback = self._timer
            callback()
        self.now = end


class Item:
    """Something with a deadline; remembers when it was told."""

    def __init__(self, clock: Clock, wheel: DeadlineWheel) -> None:
        self._clock = clock
        self._wheel = wheel
        self.deadline = NEVER
        self.slot_at = NEVER
        self.told: list[float] = []

    def expect(self, after_s: float) -> None:
        self._wheel.expire_in(self, after_s)

    def on_deadline(self) -> None:
        self.told.append(self._clock.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wheel(clock: Clock) -> DeadlineWheel:
    wheel = DeadlineWheel(clock, TICK_S)  # type: ignore[arg-type]
    wheel.start()
    return wheel


def test_a_deadline_is_told_once_and_never_too_soon(clock: Clock, wheel: DeadlineWheel):
    item = Item(clock, wheel)
    item.expect(1.0)
    clock.advance(0.99)
    assert item.told == []
    clock.advance(10)
    (at,) = item.told
    assert 1001.0 <= at <= 1001.0 + 2 * TICK_S


def test_a_deadline_that_moves_away_is_told_when_it_has_come(clock: Clock, wheel: DeadlineWheel):
    item = Item(clock, wheel)
    for _ in range(10):
        item.expect(1.0)
        clock.advance(0.9)
    assert item.told == []
    clock.advance(1.0)
    assert len(item.told) == 1


def test_a_deadline_that_comes_nearer_is_told_in_time(clock: Clock, wheel: DeadlineWheel):
    item = Item(clock, wheel)
    item.expect(100.0)
    item.expect(0.1)
    clock.advance(0.1 + 2 * TICK_S)
    assert len(item.told) == 1


def test_who_waits_for_nothing_any_more_is_told_nothing(clock: Clock, wheel: DeadlineWheel):
    lifted, gone = Item(clock, wheel), Item(clock, wheel)
    lifted.expect(1.0)
    gone.expect(1.0)
    lifted.deadline = NEVER
    wheel.forget(gone)
    clock.advance(10)
    assert lifted.told == gone.told == []
    lifted.expect(1.0)
    clock.advance(2)
    assert len(lifted.told) == 1


def test_ticks_that_were_missed_are_made_up_for(clock: Clock, wheel: DeadlineWheel):
    item = Item(clock, wheel)
    item.expect(0.1)
    clock.now += 5  # the loop was busy
    clock.advance(TICK_S)
    assert len(item.told) == 1


def test_a_stopped_wheel_tells_nothing(clock: Clock, wheel: DeadlineWheel):
    item = Item(clock, wheel)
    item.expect(0.1)
    wheel.stop()
    clock.advance(10)
    assert item.told == []


steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.02, 0.3, 2.0, NEVER])))


@given(steps)
def test_whatever_is_set_is_told_when_it_passes_and_only_then(steps: list[tuple[int, float]]):
    """Four items; each step gives one a new deadline, then a little time passes."""
    clock = Clock()
    wheel = DeadlineWheel(clock, TICK_S)  # type: ignore[arg-type]
    wheel.start()
    items = [Item(clock, wheel) for _ in range(4)]
    for index, after_s in steps:
        item = items[index]
        item.told.clear()
        item.expect(after_s)
        clock.advance(0.07)
        for other in items:
            assert all(at >= other.deadline for at in other.told)
            if other.deadline + 2 * TICK_S < clock.now:
                assert len(other.told) == 1

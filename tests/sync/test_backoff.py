"""Delays double up to a limit, are shortened by chance, and never longer than promised."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.sync.backoff import Backoff, at_random_within_s, jittered_s


@given(st.floats(0.01, 10), st.floats(10, 1000), st.integers(0, 2000))
def test_no_delay_is_longer_than_the_longest(first_s: float, longest_s: float, after: int) -> None:
    backoff = Backoff(first_s, longest_s)
    for _ in range(after):
        backoff.next_s()
    assert 0 < backoff.next_s() <= longest_s


def test_delays_double_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(1, 60)
    for longest_s in (1, 2, 4, 8, 16, 32, 60, 60):
        assert 0.5 * longest_s <= backoff.next_s() <= longest_s
    backoff.reset()
    assert backoff.next_s() <= 1


@given(st.floats(0.05, 3600))
def test_an_interval_is_shortened_by_a_fifth_at_most(interval_s: float) -> None:
    assert 0.8 * interval_s <= jittered_s(interval_s) <= interval_s


def test_what_happened_to_all_at_once_is_spread_over_the_whole_interval() -> None:
    pauses = [at_random_within_s(10) for _ in range(1000)]
    assert 0 <= min(pauses) < 2
    assert 8 < max(pauses) <= 10

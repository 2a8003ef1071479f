"""Windows follow the calendar in UTC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.rate_limiting.periods import PERIODS
from tests.plugins.rate_limiting.clocks import at

BY_NAME = {period.name: period for period in PERIODS}


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("second", "2026-12-31 23:59:59", "2027-01-01 00:00:00"),
        ("minute", "2026-12-31 23:59:00", "2027-01-01 00:00:00"),
        ("hour", "2026-12-31 23:00:00", "2027-01-01 00:00:00"),
        ("day", "2026-12-31 00:00:00", "2027-01-01 00:00:00"),
        ("month", "2026-12-01 00:00:00", "2027-01-01 00:00:00"),
        ("year", "2026-01-01 00:00:00", "2027-01-01 00:00:00"),
    ],
)
def test_the_window_of_a_moment(name: str, start: str, end: str):
    moment = at("2026-12-31 23:59:59.25")
    assert BY_NAME[name].window_at(moment) == (at(start), at(end))


@given(st.sampled_from(PERIODS), st.floats(0, at("2100-01-01 00:00:00")))
def test_windows_follow_each_other_without_a_gap(period, moment):
    start, end = period.window_at(moment)
    assert start <= moment < end
    assert period.window_at(start) == (start, end)
    assert period.window_at(end)[0] == end

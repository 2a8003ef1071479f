"""How changes and probes are spread over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lab.staleness.pace import LEAST_PAUSE_S, MOST_PROBES_PER_S, pace


@pytest.mark.parametrize(
    ("window_s", "changes", "lanes", "probe_gap_s"),
    [
        (0.05, 200, 1, 0.001),
        (0.1, 200, 1, 0.001),
        (1, 200, 3, 0.003),
        (5, 200, 13, 0.013),
        (5, 3, 1, 0.001),
        (60, 1000, 32, 0.032),
    ],
)
def test_slow_strategies_have_more_lanes_and_slower_probes(
    window_s: float, changes: int, lanes: int, probe_gap_s: float
) -> None:
    chosen = pace(window_s, changes, probed_nodes=2)
    assert (chosen.lanes, chosen.probe_gap_s) == (lanes, pytest.approx(probe_gap_s))


def test_two_hundred_changes_under_a_poll_of_five_seconds_take_about_two_minutes() -> None:
    window_s, changes = 5, 200
    chosen = pace(window_s, changes, probed_nodes=2)
    longest_change_s = chosen.most_pause_s + window_s
    assert changes * longest_change_s / chosen.lanes < 180


@given(window_s=st.floats(0.001, 3600), changes=st.integers(1, 10_000), nodes=st.integers(1, 64))
def test_no_pace_drowns_the_cluster_in_probes_or_gives_up_before_the_window_ends(
    window_s: float, changes: int, nodes: int
) -> None:
    chosen = pace(window_s, changes, nodes)
    assert 1 <= chosen.lanes <= changes
    assert chosen.lanes * nodes / chosen.probe_gap_s <= MOST_PROBES_PER_S * 1.001
    assert chosen.patience_s > window_s
    assert chosen.most_pause_s - LEAST_PAUSE_S >= window_s * 0.999

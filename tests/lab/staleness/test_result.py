"""One change as one node showed it: when it got fresh, and what was answered until then."""

from __future__ import annotations

import pytest

from gateway.lab.staleness.changes import Kind, Verdict
from gateway.lab.staleness.result import MeasuredChange, Observation, Seen

from .making import observation

STALE, FRESH, FAILED = Verdict.STALE, Verdict.FRESH, Verdict.FAILED


def seen(*answers: tuple[float, float, Verdict]) -> Observation:
    return Observation("node-2", tuple(Seen(*answer) for answer in answers))


@pytest.mark.parametrize(
    ("observed", "window_ms", "stale", "failed"),
    [
        (seen((-2, -1, STALE), (0.5, 1.5, STALE), (2, 3, FRESH)), 3, 1, 0),
        # Asked before the acknowledgement, answered after it: old is right, new counts.
        (seen((-1, 1, STALE), (2, 3, FRESH)), 3, 0, 0),
        (seen((-1, 1, FRESH)), 1, 0, 0),
        # Fresh before the writer was told: nothing was stale.
        (seen((-3, -2, STALE), (-2, -1, FRESH)), 0, 0, 0),
        (seen((1, 2, STALE), (3, 4, FAILED), (5, 6, FRESH)), 6, 1, 1),
        (seen((1, 2, STALE), (3, 4, STALE)), None, 2, 0),
        (seen((1, 2, STALE), (3, 4, FAILED)), None, 1, 1),
        (seen(), None, 0, 0),
    ],
)
def test_the_window_ends_with_the_first_fresh_answer(
    observed: Observation, window_ms: float | None, stale: int, failed: int
) -> None:
    assert observed.window_ms == window_ms
    assert observed.stale_answers == stale
    assert observed.failed_answers == failed


def test_where_between_two_answers_it_got_fresh_is_unknown() -> None:
    assert seen((1, 2, STALE), (3, 5, FRESH)).resolution_ms == 4
    assert seen((3, 5, FRESH)).resolution_ms is None
    assert seen((1, 2, STALE)).resolution_ms is None


def test_a_change_is_everywhere_when_the_last_node_has_it() -> None:
    def change(*windows: float | None) -> MeasuredChange:
        return MeasuredChange(1, Kind.ADD, 3.0, tuple(map(observation, windows)))

    assert change(3.0, 9.0).window_ms == 9
    assert change(3.0, None).window_ms is None
    assert change().window_ms is None

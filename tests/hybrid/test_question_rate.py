"""How often the database is asked on behalf of data planes."""

from __future__ import annotations

import pytest

from gateway.hybrid.question_rate import QuestionRate


def waits(*moments: float) -> list[float]:
    """Return how long each question has to wait that comes at these moments."""
    rate = QuestionRate(burst=2, per_s=10.0)
    return [round(rate.take(1000.0 + moment), 6) for moment in moments]


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([0, 0], [0, 0]),
        ([0, 0, 0, 0], [0, 0, 0.1, 0.2]),
        ([0, 0, 0.1, 0.2], [0, 0, 0, 0]),
        ([0, 0, 0.05], [0, 0, 0.05]),
        ([0, 0, 100, 100, 100], [0, 0, 0, 0, 0.1]),
    ],
)
def test_some_may_be_asked_at_once_and_the_rest_are_spread(
    moments: list[float], expected: list[float]
) -> None:
    assert waits(*moments) == expected


def test_in_the_long_run_there_are_no_more_than_the_rate() -> None:
    rate, now, asked = QuestionRate(burst=2, per_s=10.0), 0.0, 0
    while now < 10.0:
        now += rate.take(now)
        asked += 1
    assert 100 <= asked <= 103

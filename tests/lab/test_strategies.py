"""Strategies as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.lab.strategies import (
    DEFAULT,
    Strategy,
    StrategySyntaxError,
    duration_text,
    parse_duration,
    parse_strategies,
    parse_strategy,
)


@pytest.mark.parametrize(
    ("text", "strategy", "settings"),
    [
        ("poll:5s", Strategy("poll", 5.0), {"strategy": "poll", "poll_interval_s": 5.0}),
        ("poll:100ms", Strategy("poll", 0.1), {"strategy": "poll", "poll_interval_s": 0.1}),
        ("poll:1.5m", Strategy("poll", 90.0), {"strategy": "poll", "poll_interval_s": 90.0}),
        ("poll", Strategy("poll"), {"strategy": "poll"}),
        ("notify", Strategy("notify"), {"strategy": "notify"}),
        ("hybrid", Strategy("hybrid"), {}),
        ("hybrid:2s", Strategy("hybrid", 2.0), {"poll_interval_s": 2.0}),
        ("their-own", Strategy("their-own"), {"strategy": "their-own"}),
    ],
)
def test_a_strategy_is_a_name_with_or_without_an_interval(
    text: str, strategy: Strategy, settings: dict[str, object]
) -> None:
    parsed = parse_strategy(text)
    assert parsed == strategy
    assert parsed.settings == settings


@pytest.mark.parametrize(
    "text", ["", "poll:", "poll:5", "poll:5h", "poll:0s", "Poll", "a b", ":1s"]
)
def test_what_is_no_strategy_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(StrategySyntaxError, match="write"):
        parse_strategy(text)


def test_a_list_keeps_its_order_and_names_none_twice() -> None:
    labels = [strategy.label for strategy in parse_strategies(DEFAULT)]
    assert ",".join(labels) == DEFAULT
    assert len(parse_strategies("poll:1s, notify")) == 2
    with pytest.raises(StrategySyntaxError, match="twice"):
        parse_strategies("poll:1s,poll:1000ms")


def test_only_a_poll_is_expected_to_take_its_interval() -> None:
    assert parse_strategy("poll:5s").window_s == 5
    assert parse_strategy("notify:5s").window_s < 1


@given(st.integers(1, 10_000_000))
def test_durations_are_written_as_they_are_read(milliseconds: int) -> None:
    text = duration_text(milliseconds / 1000)
    assert parse_duration(text) == pytest.approx(milliseconds / 1000, rel=1e-5)

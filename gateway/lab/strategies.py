"""The strategies to compare, as users write them: `poll:5s`, `notify`, `hybrid`."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT = "poll:5s,poll:1s,poll:100ms,notify,hybrid"
POLL, HYBRID = "poll", "hybrid"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_PUSHED_WINDOW_S = 0.05
"""What pauses and deadlines reckon with where nodes are told of a change; the truth is less."""


class StrategySyntaxError(ValueError):
    """A strategy is not written as one; the message says how."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy and its poll interval, None where that is left to its default."""

    name: str
    poll_interval_s: float | None = None

    @property
    def label(self) -> str:
        """How it was written."""
        if self.poll_interval_s is None:
            return self.name
        return f"{self.name}:{duration_text(self.poll_interval_s)}"

    @property
    def is_hybrid(self) -> bool:
        """Whether it takes control planes and data planes."""
        return self.name == HYBRID

    @property
    def window_s(self) -> float:
        """The longest stale window to reckon with, in seconds."""
        if self.name == POLL:
            return self.poll_interval_s or 1.0
        return _PUSHED_WINDOW_S

    @property
    def settings(self) -> dict[str, object]:
        """The settings that give it to a node."""
        chosen: dict[str, object] = {} if self.is_hybrid else {"strategy": self.name}
        if self.poll_interval_s is not None:
            chosen["poll_interval_s"] = self.poll_interval_s
        return chosen


def parse_strategies(text: str) -> list[Strategy]:
    """Return the strategies in a comma-separated list. Raises `StrategySyntaxError`."""
    strategies = [parse_strategy(part.strip()) for part in text.split(",")]
    if len({strategy.label for strategy in strategies}) < len(strategies):
        raise StrategySyntaxError(f"{text!r} names a strategy twice")
    return strategies


def parse_strategy(text: str) -> Strategy:
    """Return one strategy, a name with or without an interval. Raises `StrategySyntaxError`."""
    name, colon, interval = text.partition(":")
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or (colon and not interval):
        raise StrategySyntaxError(f"{text!r} is no strategy: write poll:1s, notify or hybrid")
    return Strategy(name, parse_duration(interval) if interval else None)


def parse_duration(text: str) -> float:
    """Return a duration in seconds. Raises `StrategySyntaxError`."""
    found = _DURATION.fullmatch(text)
    if found is None or not float(found[1]):
        raise StrategySyntaxError(f"{text!r} is no duration: write 100ms, 5s or 2m")
    return float(found[1]) * _SECONDS[found[2]]


def duration_text(seconds: float) -> str:
    """Return a duration the way `parse_duration` reads it."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds:g}s"

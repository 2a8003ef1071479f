"""Bars: how far the gateway may stay behind its yardstick; printed beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.measure import Result


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit for a figure of a scenario's first contender, relative to the last one's.

    ``requests_per_s`` is to reach it, ``p99_ms`` is to stay below.
    """

    figure: Literal["requests_per_s", "p99_ms"]
    limit: float

    def judge(self, results: Sequence[Result]) -> str:
        """Say in a line whether the bar is kept."""
        first, last = results[0], results[-1]
        if self.figure == "requests_per_s":
            value, wanted, name = first.ratio, "at least", "requests/s"
            kept = value >= self.limit
        else:
            value, wanted, name = first.p99_ms / last.p99_ms, "at most", "p99"
            kept = value <= self.limit
        relation = f"{value:.2f} x {last.contender}, {wanted} {self.limit:.2f}"
        return f"{'kept' if kept else 'MISSED'}: {name} of {first.contender} {relation}"

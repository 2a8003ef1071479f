"""Results for tests: windows in, everything around them made up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from gateway.lab.staleness.changes import Kind, Verdict
from gateway.lab.staleness.result import (
    Counted,
    MeasuredChange,
    Observation,
    Result,
    Seen,
    StrategyResult,
)


def observation(window_ms: float | None, node: str = "node-2", gap_ms: float = 1.0) -> Observation:
    """Return what a probe saw that asked every so many ms; None: it never saw the change."""
    last_ms = 50.0 if window_ms is None else window_ms
    stale = [
        Seen(tick * gap_ms, tick * gap_ms + 0.5, Verdict.STALE)
        for tick in range(-3, int((last_ms - 0.5) // gap_ms))
    ]
    fresh = [] if window_ms is None else [Seen(window_ms - 0.5, window_ms, Verdict.FRESH)]
    return Observation(node, (*stale, *fresh))


def strategy(
    label: str, windows_ms: Sequence[Sequence[float | None]], interval_s: float | None = None
) -> StrategyResult:
    """Return a strategy's result: a line per change, a window per node."""
    kinds = cycle(Kind)
    changes = tuple(
        MeasuredChange(
            number,
            next(kinds),
            4.0,
            tuple(observation(w, f"node-{k + 2}") for k, w in enumerate(windows)),
        )
        for number, windows in enumerate(windows_ms, start=1)
    )
    return StrategyResult(
        label=label,
        poll_interval_s=interval_s,
        nodes=tuple(o.node for o in changes[0].observations),
        probe_gap_ms=1.0,
        lanes=1,
        duration_s=10.0,
        changes=changes,
        idle=Counted(10.0, questions=1.0, transactions=2.0, requests=0.0),
        busy=Counted(10.0, questions=8.0, transactions=20.0, requests=300.0),
        own_windows={5.0: 0, 10.0: len(changes), float("inf"): len(changes)},
    )


def result(*strategies: StrategyResult) -> Result:
    """Return a whole run."""
    machine: dict[str, str | int] = {"cores": 2, "system": "Linux", "python": "3.11"}
    return Result(
        started_at="2026-01-02T03:04:05+00:00",
        machine={**machine, "gateway": "0.0.0"},
        under_load=False,
        routes=0,
        seed=1,
        strategies=strategies,
    )

"""The result as files for other programs: result.json with everything, result.csv by line."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.lab.staleness.result import MeasuredChange, Result, StrategyResult
from gateway.lab.staleness.summary import summarize, typical

COLUMNS = (
    "strategy",
    "change",
    "kind",
    "node",
    "write_ms",
    "window_ms",
    "stale_answers",
    "failed_answers",
)


def write_json(result: Result, path: Path) -> None:
    """Write figures and single changes; every answer only of each strategy's typical change."""
    path.write_text(json.dumps(document(result), indent=1) + "\n")


def write_csv(result: Result, path: Path) -> None:
    """Write one line per change and node."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for strategy in result.strategies:
            writer.writerows(_rows(strategy))


def document(result: Result) -> dict[str, Any]:
    """Return the result as JSON has it; unknown figures are null."""
    strategies = [_strategy(strategy) for strategy in result.strategies]
    facts = {name: getattr(result, name) for name in ("started_at", "under_load", "routes", "seed")}
    return {**facts, "machine": dict(result.machine), "strategies": strategies}


def _strategy(strategy: StrategyResult) -> dict[str, Any]:
    typical_change = typical(strategy.changes)
    return {
        "strategy": strategy.label,
        "poll_interval_s": strategy.poll_interval_s,
        "nodes": list(strategy.nodes),
        "probe_gap_ms": strategy.probe_gap_ms,
        "lanes": strategy.lanes,
        "duration_s": round(strategy.duration_s, 3),
        "summary": _rounded(asdict(summarize(strategy))),
        "per_node_and_s": {
            "idle": _rounded(asdict(strategy.idle)),
            "changing": _rounded(asdict(strategy.busy)),
        },
        "own_windows_ms": {
            "+Inf" if math.isinf(bound) else f"{bound:g}": count
            for bound, count in sorted(strategy.own_windows.items())
        },
        "changes": [_change(change) for change in strategy.changes],
        "typical_change": _timeline(typical_change) if typical_change else None,
    }


def _change(change: MeasuredChange) -> dict[str, Any]:
    return {
        "number": change.number,
        "kind": change.kind,
        "write_ms": round(change.write_ms, 3),
        "nodes": {
            o.node: _rounded(
                {
                    "window_ms": o.window_ms,
                    "stale_answers": o.stale_answers,
                    "failed_answers": o.failed_answers,
                }
            )
            for o in change.observations
        },
    }


def _timeline(change: MeasuredChange) -> dict[str, Any]:
    return {
        "number": change.number,
        "answers": {
            o.node: [_rounded(asdict(seen)) for seen in o.answers] for o in change.observations
        },
    }


def _rows(strategy: StrategyResult) -> Iterator[dict[str, Any]]:
    for change in strategy.changes:
        for name, figures in _change(change)["nodes"].items():
            yield {
                "strategy": strategy.label,
                "change": change.number,
                "kind": change.kind,
                "node": name,
                "write_ms": round(change.write_ms, 3),
                **figures,
            }


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}

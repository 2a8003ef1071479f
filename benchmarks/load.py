"""The load generator: wrk with one thread and 64 keep-alive connections."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one round measured."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def run_load(core: int, url: str, duration_s: float, route_count: int = 0) -> Figures:
    """Load the URL for a time; with a route count, its /r/… paths at random.

    wrk takes whole seconds only.
    """
    command = ["taskset", "--cpu-list", str(core), "wrk", "-t1", f"-c{CONNECTIONS}"]
    command += [f"-d{max(1, round(duration_s))}s", "--timeout", "10s", "-s", str(SCRIPT), url]
    output = subprocess.run(
        [*command, "--", str(route_count)],
        capture_output=True,
        text=True,
        check=True,
        timeout=duration_s + 60,
    ).stdout
    return _figures(json.loads(output.splitlines()[-1]))


def _figures(summary: dict[str, int]) -> Figures:
    return Figures(
        requests=summary["requests"],
        requests_per_s=summary["requests"] / (summary["duration_us"] / 1e6),
        p50_ms=summary["p50_us"] / 1e3,
        p99_ms=summary["p99_us"] / 1e3,
        errors=summary["status_errors"] + summary["socket_errors"],
    )

"""What a server is loaded with: wrk on one thread, or WebSocket clients; always 64 connections."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("load.lua")
_SPARE_S = 60.0
"""What a generator may take to start and to end."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one round measured."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class Load(Protocol):
    """A kind of load."""

    def run(self, core: int, port: int, duration_s: float) -> Figures:
        """Load a port of this machine from one core; a duration has whole seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Requests:
    """HTTP requests by wrk.

    ``route_count``: instead of ``path``, that many paths /r/… at random. ``own_headers``: each
    request has a header line that no other has. ``header``: one that all of them have.
    """

    path: str = "/"
    tls: bool = False
    keep_alive: bool = True
    body_bytes: int = 0
    route_count: int = 0
    own_headers: bool = False
    header: str = ""

    def run(self, core: int, port: int, duration_s: float) -> Figures:
        """See `Load`."""
        url = f"{'https' if self.tls else 'http'}://127.0.0.1:{port}/"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{_whole(duration_s)}s"]
        command += ["--timeout", "10s", "-s", str(SCRIPT), url, "--", *self._script_arguments()]
        return _figures(core, command, duration_s)

    def _script_arguments(self) -> Iterator[str]:
        yield f"path={self.path}"
        if self.route_count:
            yield f"routes={self.route_count}"
        if self.body_bytes:
            yield f"body={self.body_bytes}"
        if not self.keep_alive:
            yield "close=1"
        if self.own_headers:
            yield "own=1"
        if self.header:
            yield f"header={self.header}"


PLAIN = Requests()


@dataclass(frozen=True, slots=True)
class Messages:
    """WebSocket messages that are echoed, by `benchmarks.websocket`; each counts as a request."""

    path: str

    def run(self, core: int, port: int, duration_s: float) -> Figures:
        """See `Load`."""
        command = [sys.executable, "-m", "benchmarks.websocket", "load", str(port), self.path]
        return _figures(core, [*command, str(CONNECTIONS), str(_whole(duration_s))], duration_s)


def _whole(duration_s: float) -> int:
    return max(1, round(duration_s))


def _figures(core: int, command: Sequence[str], duration_s: float) -> Figures:
    """Run a generator on a core; its last line of output is its summary."""
    output = subprocess.run(
        ["taskset", "--cpu-list", str(core), *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=duration_s + _SPARE_S,
    ).stdout
    summary: dict[str, int] = json.loads(output.splitlines()[-1])
    return Figures(
        requests=summary["requests"],
        requests_per_s=summary["requests"] / (summary["duration_us"] / 1e6),
        p50_ms=summary["p50_us"] / 1e3,
        p99_ms=summary["p99_us"] / 1e3,
        errors=summary["status_errors"] + summary["socket_errors"],
    )

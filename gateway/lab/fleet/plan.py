"""What a run measures: cells of strategy and size, and the connections that each of them needs."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.lab.cluster import LabError

STRATEGIES = "poll:5s,poll:1s,notify,hybrid"
USUAL_SIZES = (10, 100, 1000)

CONTROL_PLANES = 2
CONNECTIONS_PER_NODE = {"poll": 2, "notify": 3, "hybrid": 0}
"""Sync and heartbeats; under notify also LISTEN. A data plane has none."""

CONNECTIONS_BESIDES = 40
"""For the writer, the meter, the control planes, the superuser's reserve and late good-byes."""

FILES_BESIDES = 100
"""What a worker process has open besides the connections of its nodes."""

_STRATEGY = re.compile(r"(?P<name>poll|notify|hybrid)(:(?P<number>\d+(\.\d+)?)(?P<unit>ms|s))?")
_UNITS_S = {"ms": 0.001, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Strategy:
    """A sync strategy as the command line names it: ``poll:5s``, ``notify``."""

    label: str
    name: str
    poll_interval_s: float | None = None

    @property
    def is_hybrid(self) -> bool:
        """Whether the nodes are data planes."""
        return self.name == "hybrid"


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement: so many nodes that sync by this strategy."""

    strategy: Strategy
    nodes: int

    @property
    def max_connections(self) -> int:
        """The server's setting under which no node is turned away."""
        return CONNECTIONS_PER_NODE[self.strategy.name] * self.nodes + CONNECTIONS_BESIDES


def parse_strategies(text: str) -> list[Strategy]:
    """Return the strategies of a list like ``poll:5s,notify``. Raises LabError."""
    return [_strategy(label.strip()) for label in text.split(",")]


def sizes_up_to(nodes: int) -> list[int]:
    """Return the usual sizes below ``nodes``, and that."""
    return [size for size in USUAL_SIZES if size < nodes] + [nodes]


def parse_sizes(text: str) -> list[int]:
    """Return the sizes of a list like ``10,100``, ascending. Raises LabError."""
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError:
        raise LabError(f"--sizes: numbers of nodes like 10,100,1000, not '{text}'") from None
    if sizes[0] < 1:
        raise LabError("--sizes: a fleet has at least one node")
    return sizes


def cells(strategies: Sequence[Strategy], sizes: Sequence[int]) -> list[Cell]:
    """Return all cells, a strategy's sizes one after the other."""
    return [Cell(strategy, size) for strategy in strategies for size in sizes]


def share(names: Sequence[str], workers: int) -> list[list[str]]:
    """Deal the nodes out to worker processes, none of which is left without one."""
    return [list(names[first::workers]) for first in range(min(workers, len(names)))]


def default_workers() -> int:
    """Return how many worker processes the machine has cores for."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_files(shares: Sequence[Sequence[str]], strategy: Strategy) -> None:
    """Raise LabError if a worker's nodes need more open files than the system allows it."""
    per_node = CONNECTIONS_PER_NODE[strategy.name] or 1  # a data plane's, to its control plane
    needed = per_node * max(map(len, shares)) + FILES_BESIDES
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        raise LabError(
            f"{len(shares)} worker processes need {needed} open files each, the system allows "
            f"{allowed} (ulimit -Hn): raise that, or use more --workers"
        )


def _strategy(label: str) -> Strategy:
    match = _STRATEGY.fullmatch(label)
    if not match:
        raise LabError(f"--strategies: poll:5s, poll:100ms, notify or hybrid, not '{label}'")
    interval_s = float(match["number"]) * _UNITS_S[match["unit"]] if match["number"] else None
    return Strategy(label, match["name"], interval_s)

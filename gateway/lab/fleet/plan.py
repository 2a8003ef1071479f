"""What a run measures: cells of strategy and size, and the connections that each of them needs."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.lab.cluster import LabError
from gateway.lab.strategies import Strategy

STRATEGIES = "poll:5s,poll:1s,notify,hybrid"
USUAL_SIZES = (10, 100, 1000)

CONNECTIONS_PER_NODE = {"poll": 2, "hybrid": 0}
"""Sync and heartbeats; a data plane has none to PostgreSQL."""

CONNECTIONS_PER_LISTENER = 3
"""Of nodes that are also told of changes, by `notify` or somebody else's strategy."""

CONNECTIONS_BESIDES = 40
"""For the writer, the meter, the control planes, the superuser's reserve and late good-byes."""

FILES_BESIDES = 100
"""What a worker process has open besides the connections of its nodes."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement: so many nodes that sync by this strategy."""

    strategy: Strategy
    nodes: int

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"{self.strategy.label} with {self.nodes} nodes"

    @property
    def max_connections(self) -> int:
        """The server's setting under which no node is turned away."""
        return connections_per_node(self.strategy) * self.nodes + CONNECTIONS_BESIDES


def connections_per_node(strategy: Strategy) -> int:
    """Return how many connections to PostgreSQL a node keeps that no Admin API request uses."""
    return CONNECTIONS_PER_NODE.get(strategy.name, CONNECTIONS_PER_LISTENER)


def sizes_up_to(nodes: int) -> list[int]:
    """Return the usual sizes below ``nodes``, and that."""
    return [size for size in USUAL_SIZES if size < nodes] + [nodes]


def parse_sizes(text: str) -> list[int]:
    """Return the sizes of a list like ``10,100``, ascending. Raises LabError."""
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError:
        raise LabError(f"--sizes: write numbers of nodes like 10,100,1000, not {text!r}") from None
    if sizes[0] < 1:
        raise LabError("--sizes: a fleet has at least one node")
    return sizes


def cells(strategies: Sequence[Strategy], sizes: Sequence[int]) -> list[Cell]:
    """Return all cells, a strategy's sizes one after the other."""
    return [Cell(strategy, size) for strategy in strategies for size in sizes]


def share(names: Sequence[str], workers: int) -> list[list[str]]:
    """Deal the nodes out to worker processes, none of which is left without one."""
    return [list(names[first::workers]) for first in range(min(workers, len(names)))]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_files(shares: Sequence[Sequence[str]], strategy: Strategy) -> None:
    """Raise LabError if a worker's nodes need more open files than the system allows it."""
    per_node = connections_per_node(strategy) or 1  # a data plane's, to its control plane
    needed = per_node * max(map(len, shares)) + FILES_BESIDES
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        raise LabError(
            f"{len(shares)} worker processes need {needed} open files each, the system allows "
            f"{allowed} (ulimit -Hn): raise that, or use more --workers"
        )

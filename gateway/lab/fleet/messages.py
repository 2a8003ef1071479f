"""What the lab and its worker processes say to each other: one JSON object per line.

The order goes down the worker's standard input, never into its arguments: it may have a password.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

NumberT = TypeVar("NumberT", int, float)


class Order(BaseModel):
    """Simulate these nodes, starting them one after the other within ``start_within_s``."""

    settings: dict[str, Any]
    names: list[str]
    start_within_s: float
    clock_ahead_s: float
    """How far the database's clock is ahead of this machine's."""


class FleetState(BaseModel):
    """How a worker's nodes are at this moment."""

    synced: int = 0
    lowest_version: int | None = None
    """What every node serves at least; None while there is one that serves nothing."""

    earliest_success_s: float | None = None
    """Of the nodes' last successful syncs the one longest ago, by the machine's monotonic clock."""

    cpu_s: float = 0.0
    """CPU time that the worker has taken so far."""

    stall_s: float = 0.0
    """How late the worker's event loop was to send this."""

    ended: int = 0
    """Nodes that a part of has ended by itself."""

    failures: int = 0
    """Syncs that failed, since the start."""

    last_error: str | None = None

    @classmethod
    def of_all(cls, states: Sequence[FleetState]) -> FleetState:
        """Return the state of a fleet that several workers simulate."""
        return cls(
            synced=sum(state.synced for state in states),
            lowest_version=least(state.lowest_version for state in states),
            earliest_success_s=least(state.earliest_success_s for state in states),
            cpu_s=sum(state.cpu_s for state in states),
            stall_s=max(state.stall_s for state in states),
            ended=sum(state.ended for state in states),
            failures=sum(state.failures for state in states),
            last_error=next((state.last_error for state in states if state.last_error), None),
        )


class Apply(BaseModel):
    """An apply: of all versions after ``since`` up to ``version``, at ``at_s`` by the database."""

    since: int
    version: int
    at_s: float


class NodeReport(BaseModel):
    """What a node did since it first synced."""

    name: str
    applies: list[Apply]
    own_propagation_s: list[float]
    """The stale windows as the node itself measured them."""

    syncs: int
    full_loads: int
    failures: int
    strategy_restarts: int


class WorkerMessage(BaseModel):
    """A line from a worker: its state now and then, its report at the end."""

    state: FleetState
    report: list[NodeReport] | None = None


def least(numbers: Iterable[NumberT | None]) -> NumberT | None:
    """Return the least number, None if one is missing."""
    known = list(numbers)
    return None if None in known else min(number for number in known if number is not None)

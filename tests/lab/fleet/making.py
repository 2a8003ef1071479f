"""Results made up for tests."""

from __future__ import annotations

from typing import Any

from gateway.lab.fleet.figures import CellResult, Load, Propagation, Restart, Spread
from gateway.lab.fleet.messages import Apply, NodeReport
from gateway.lab.fleet.plan import Cell
from gateway.lab.strategies import parse_strategy


def cell(strategy: str = "notify", nodes: int = 10) -> Cell:
    return Cell(parse_strategy(strategy), nodes)


def report(name: str, *applies: tuple[int, int, float]) -> NodeReport:
    """A node that applied from a version up to another at a time."""
    return NodeReport(
        name=name,
        applies=[Apply(since=since, version=upto, at_s=at) for since, upto, at in applies],
        own_propagation_s=[],
        syncs=0,
        full_loads=1,
        failures=0,
        strategy_restarts=0,
    )


def load(**figures: Any) -> Load:
    usual = {
        "seconds": 10.0,
        "transactions_per_s": 100.0,
        "database_cores": 0.1,
        "simulator_cores": [0.25, 0.25],
        "control_plane_cores": 0.0,
        "machine_busy": 0.5,
        "longest_stall_s": 0.01,
    }
    return Load(**usual | figures)


def result(strategy: str = "notify", nodes: int = 10, **figures: Any) -> CellResult:
    spread = Spread(50, 5.0, 20.0, 25.0)
    usual = {
        "connections": 3 * nodes,
        "database_memory_mb": 123.4,
        "idle": load(),
        "changing": load(database_cores=0.6),
        "propagation": Propagation(spread, spread, 0),
        "own_propagation": spread,
        "write": spread,
    }
    return CellResult(cell(strategy, nodes), **usual | figures)


def restart() -> Restart:
    return Restart(0.5, 1.25, 2.5, 30.0, 7, 0.2)

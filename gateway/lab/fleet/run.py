"""A whole run: one cell after the other, each on its own PostgreSQL."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gateway.lab.fleet.figures import CellResult
from gateway.lab.fleet.measure import Effort, measure_cell
from gateway.lab.fleet.plan import Cell
from gateway.lab.fleet.report import FleetResult, machine
from gateway.settings import NodeSettings, read_settings

SETTINGS = ("poll_interval_s", "heartbeat_interval_s", "apply_gap_s")
"""Those that shape the load, and come from the environment like any node's."""


class Progress(Protocol):
    """Where a run tells how far it is."""

    def tell(self, phase: str) -> None:
        """Take what is being measured now."""
        ...

    def done(self, result: CellResult) -> None:
        """Take a cell's result."""
        ...


async def run(cells: Sequence[Cell], effort: Effort, progress: Progress) -> FleetResult:
    """Measure all cells. Raises LabError."""
    settings = read_settings(NodeSettings)
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    results = []
    with _logs() as logs:
        for cell in cells:
            result = await measure_cell(cell, effort, logs, progress.tell)
            results.append(result)
            progress.done(result)
    return FleetResult(
        started_at=started_at,
        effort={name: value for name, value in asdict(effort).items() if name != "database_url"},
        settings={name: getattr(settings, name) for name in SETTINGS},
        cells=results,
        machine=machine(),
    )


@contextmanager
def _logs() -> Iterator[Path]:
    """Make a folder for what the worker processes say; it is quoted where one fails."""
    directory = Path(tempfile.mkdtemp(prefix="gateway-fleet-logs-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)

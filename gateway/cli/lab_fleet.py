"""`gateway lab fleet`: how many nodes one PostgreSQL carries, by strategy."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from gateway.cli.errors import CommandError
from gateway.lab.cluster import LabError
from gateway.lab.fleet.figures import CellResult
from gateway.lab.fleet.measure import Effort
from gateway.lab.fleet.plan import STRATEGIES, Cell, cells, cores, parse_sizes, sizes_up_to
from gateway.lab.fleet.report import (
    HINT,
    FleetResult,
    complaints,
    record,
    tables,
    write_report,
)
from gateway.lab.fleet.run import Progress, run
from gateway.lab.plotting import can_plot
from gateway.lab.strategies import Strategy, StrategySyntaxError, parse_strategies

FILE_WIDTH = 120


def fleet(
    *,
    nodes: Annotated[
        int, typer.Option(min=1, max=100_000, help="Nodes of the largest fleet.")
    ] = 1000,
    sizes: Annotated[
        str,
        typer.Option(metavar="LIST", help="All sizes. Default: 10, 100, 1000 as far as --nodes."),
    ] = "",
    strategies: Annotated[
        str, typer.Option(metavar="LIST", help="What to compare, as name or name:interval.")
    ] = STRATEGIES,
    changes: Annotated[int, typer.Option(min=1, help="Changes in each fleet.")] = 50,
    seconds: Annotated[
        float,
        typer.Option(min=1, help="How long each fleet is left idle, and how long it is changed."),
    ] = 20.0,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that simulate the nodes. Default: one a core.")
    ] = cores(),
    restart_postgres: Annotated[
        bool, typer.Option("--restart-postgres", help="Then also restart PostgreSQL under them.")
    ] = False,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where results and plot go.")] = Path(
        "gateway-fleet"
    ),
    record_in: Annotated[
        Path | None,
        typer.Option(
            "--record", metavar="PAGE", help="Also put tables and plot into this Markdown page."
        ),
    ] = None,
    database_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="GATEWAY_LAB_DATABASE_URL",
            help="A PostgreSQL database for the lab alone. Default: embedded ones.",
        ),
    ] = "",
) -> None:
    """Simulate fleets of nodes on one PostgreSQL: what they cost it, how soon changes arrive.

    Each node is the real sync loop, strategy and heartbeat with its real connections; it has no
    listeners and builds no snapshots. Other settings come from the environment, like any node's.
    Ends with a table, and files in --output.
    """
    if restart_postgres and database_url:
        raise CommandError("--restart-postgres is for the lab's own PostgreSQL: leave it out")
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    effort = Effort(changes, seconds, workers, restart_postgres, database_url)
    try:
        chosen = cells(_strategies(strategies), parse_sizes(sizes) if sizes else sizes_up_to(nodes))
        with _ProgressBar(console, chosen) as progress:
            result = asyncio.run(_run(chosen, effort, progress))
    except LabError as error:
        raise CommandError(str(error)) from None
    _show(result, console)
    _write(result, output, console)
    if record_in:
        _record(result, record_in)


def _record(result: FleetResult, page: Path) -> None:
    try:
        record(result, page)
    except OSError as error:
        raise CommandError(f"--record: cannot write {page}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(f"--record: {error}") from None


async def _run(chosen: list[Cell], effort: Effort, progress: Progress) -> FleetResult:
    """Measure, and clean up when told to end as on Ctrl-C."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    return await run(chosen, effort, progress)


def _strategies(text: str) -> list[Strategy]:
    try:
        return parse_strategies(text)
    except StrategySyntaxError as error:
        raise CommandError(f"--strategies: {error}") from None


class _ProgressBar:
    """A bar over all cells with what is going on; a line per cell where there is no terminal."""

    def __init__(self, console: Console, chosen: list[Cell]) -> None:
        self._console = console
        self._bars = Bars(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._bars.add_task("", total=len(chosen))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, phase: str) -> None:
        self._bars.update(self._bar, description=phase)

    def done(self, result: CellResult) -> None:
        self._bars.advance(self._bar)
        if not self._console.is_terminal:
            self._console.print(f"measured: {result.cell.label}", highlight=False)


def _show(result: FleetResult, console: Console) -> None:
    for table, legend in tables(result.cells):
        console.print(table)
        console.print(legend, highlight=False)
    for complaint in complaints(result.cells):
        console.print(complaint, style="red", markup=False, highlight=False)


def _write(result: FleetResult, output: Path, console: Console) -> None:
    try:
        written = write_report(result, output)
    except OSError as error:
        raise CommandError(f"--output: cannot write to {output}: {error.strerror}") from None
    console.print(f"\nwritten: {', '.join(str(path) for path in written)}", soft_wrap=True)
    if not can_plot():
        console.print(HINT, highlight=False, markup=False)

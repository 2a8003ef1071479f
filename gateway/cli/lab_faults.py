"""`gateway lab faults`: whether a cluster keeps its promises while everything around it fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.errors import CommandError
from gateway.lab.cluster import LabError
from gateway.lab.faults.checker import check
from gateway.lab.faults.history import HistoryError, read
from gateway.lab.faults.plan import FaultKind, PlannedFault, names, parse_faults
from gateway.lab.faults.report import Tally, complaint, replays, summary
from gateway.lab.faults.run import Options, record
from gateway.lab.strategies import StrategySyntaxError, parse_strategy

FILE_WIDTH = 120
HISTORY = "history.jsonl"
LARGEST_SEED = 2**32 - 1


def faults(
    *,
    minutes: Annotated[
        float, typer.Option(min=0.05, max=10_000, help="How long there are writes and faults.")
    ] = 2,
    nodes: Annotated[
        int, typer.Option(min=1, max=16, help="Nodes that serve; under hybrid, data planes.")
    ] = 3,
    strategy: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Sync strategy: notify, poll:200ms, hybrid or an installed one. Several, with "
            "commas: the nodes take turns.",
        ),
    ] = "notify",
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=LARGEST_SEED, help="Decides which faults and writes come. Default: chance."
        ),
    ] = None,
    kinds: Annotated[
        str, typer.Option("--faults", metavar="LIST", help="Which faults; none if empty.")
    ] = names(FaultKind),
    output: Annotated[Path, typer.Option(metavar="DIR", help=f"Where {HISTORY} goes.")] = Path(
        "gateway-faults"
    ),
    recorded: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Judge a saved history again.")
    ] = None,
) -> None:
    """Write, probe and hurt a cluster, record the history, and judge it.

    The cluster is one of the lab's own. Exit code 1: a guarantee was broken; then the events that
    show it are named, and how to judge the history again.
    """
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    with _complaining():
        if recorded is None:
            seed = random.randint(0, LARGEST_SEED) if seed is None else seed  # noqa: S311
            strategies = [parse_strategy(name.strip()) for name in strategy.split(",")]
            options = Options(seed, minutes, nodes, strategies, parse_faults(kinds))
            recorded = _record(options, output, console)
        holds = _judge(recorded, console)
    if not holds:
        raise typer.Exit(1)


@contextmanager
def _complaining() -> Iterator[None]:
    try:
        yield
    except StrategySyntaxError as error:
        raise CommandError(f"--strategy: {error}") from None
    except (LabError, HistoryError) as error:
        raise CommandError(str(error)) from None


def _record(options: Options, output: Path, console: Console) -> Path:
    """Make a run; return where its history is."""
    history = output / HISTORY
    try:
        output.mkdir(parents=True, exist_ok=True)
        history.touch()
    except OSError as error:
        raise CommandError(f"--output: cannot write to {history}: {error.strerror}") from None
    console.print(f"seed {options.seed}, {options.minutes:g} minutes", highlight=False)
    columns = (TextColumn("running"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=options.duration_s)

        def tell(fault: PlannedFault) -> None:
            progress.update(bar, completed=fault.at_s)
            progress.console.print(_line(fault), highlight=False)

        asyncio.run(record(options, history, tell))
    return history


def _line(fault: PlannedFault) -> str:
    lasts = f" for {fault.lasts_s:.1f} s" if fault.lasts_s else ""
    return f"{fault.at_s:7.1f} s  {fault.kind} {fault.victim}{lasts}"


def _judge(history: Path, console: Console) -> bool:
    """Say what a history comes to; return whether all guarantees held."""
    verdict = check(read(history))
    console.print(summary(verdict, Tally.of(read(history))))
    for violation in verdict.violations:
        console.print(complaint(violation), soft_wrap=True)
    console.print("to judge this history again, or to make another of its kind:", highlight=False)
    for command in replays(verdict.run, history):
        console.print(f"  {command}", highlight=False, soft_wrap=True, markup=False)
    return verdict.holds

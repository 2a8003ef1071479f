"""`gateway lab staleness`: how long other nodes still answer by the old configuration."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from gateway.cli.errors import CommandError
from gateway.lab.cluster import LabError
from gateway.lab.plotting import can_plot
from gateway.lab.staleness.report import HINT, write_report
from gateway.lab.staleness.result import Result
from gateway.lab.staleness.run import Plan, Running, run
from gateway.lab.staleness.table import LEGEND, complaints, table
from gateway.lab.staleness.wire import Origin
from gateway.lab.strategies import (
    DEFAULT,
    Strategy,
    StrategySyntaxError,
    parse_strategies,
)

FILE_WIDTH = 120
LOAD_CONNECTIONS = 8
EXPECTED_OF_A_RUNNING_CLUSTER = "poll:5s"


def staleness(
    *,
    nodes: Annotated[
        int,
        typer.Option(min=2, max=64, help="Nodes of each cluster; under hybrid, data planes."),
    ] = 3,
    strategies: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help=f"What to compare, as name or name:interval. Default: {DEFAULT}. For a running "
            f"cluster: the one to expect, default {EXPECTED_OF_A_RUNNING_CLUSTER}.",
        ),
    ] = "",
    changes: Annotated[int, typer.Option(min=1, help="Changes under each strategy.")] = 200,
    under_load: Annotated[
        bool, typer.Option("--under-load", help="Load all probed proxies at the same time.")
    ] = False,
    load_connections: Annotated[
        int, typer.Option(min=1, max=1000, help="Connections of that load to each proxy.")
    ] = LOAD_CONNECTIONS,
    routes: Annotated[int, typer.Option(min=0, help="Routes that are there beforehand.")] = 0,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Where results and report go.")
    ] = Path("gateway-staleness"),
    seed: Annotated[int, typer.Option(help="Seed of the random pauses.")] = 1,
    database_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="GATEWAY_LAB_DATABASE_URL",
            help="A PostgreSQL database for the lab alone. Default: an embedded one.",
        ),
    ] = "",
    admin_url: Annotated[
        str,
        typer.Option(metavar="URL", help="Measure a running cluster, or a Kong: its Admin API."),
    ] = "",
    token: Annotated[
        str,
        typer.Option(
            metavar="TOKEN",
            envvar="GATEWAY_ADMIN_TOKEN",
            help="A token of that Admin API, if it asks for one.",
        ),
    ] = "",
    proxy_url: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A proxy of the running cluster; may be repeated."),
    ] = None,
    status_url: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A status listener of it; may be repeated."),
    ] = None,
    upstream_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="An upstream that the running cluster reaches and that answers with the path it "
            "was asked for. Default: one of the lab's own, on this machine.",
        ),
    ] = "",
) -> None:
    """Measure the stale window: change a cluster through one node, ask the others.

    Each strategy gets a cluster of its own; with --admin-url and --proxy-url a running one is
    measured instead, and left as it was. Ends with a table, and files in --output.
    """
    running = _running(admin_url, token, proxy_url or [], status_url or [], upstream_url)
    plan = Plan(
        strategies=_strategies(strategies, running),
        changes=changes,
        seed=seed,
        nodes=nodes,
        routes=routes,
        load_connections=load_connections if under_load else 0,
        database_url=database_url,
        running=running,
    )
    if running and routes:
        raise CommandError("--routes is for clusters of the lab's own: leave it out")
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    with (
        _complaining(),
        _terminated_as_by_ctrl_c(),
        _ProgressBars(console, plan.changes) as progress,
    ):
        result = asyncio.run(run(plan, progress))
    _show(result, console)
    _write(result, output, console)


def _running(
    admin_url: str, token: str, proxy_urls: list[str], status_urls: list[str], upstream_url: str
) -> Running | None:
    """Return the running cluster that the options name, None if they name none."""
    if not (admin_url or proxy_urls or status_urls or upstream_url):
        return None
    if not (admin_url and proxy_urls):
        raise CommandError("a running cluster is named by --admin-url and at least one --proxy-url")
    try:
        for url in (admin_url, *proxy_urls, *status_urls):
            Origin.of(url)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return Running(admin_url, proxy_urls, status_urls, upstream_url, token)


def _strategies(text: str, running: Running | None) -> list[Strategy]:
    try:
        chosen = parse_strategies(text or (EXPECTED_OF_A_RUNNING_CLUSTER if running else DEFAULT))
    except StrategySyntaxError as error:
        raise CommandError(f"--strategies: {error}") from None
    if running and len(chosen) > 1:
        raise CommandError("--strategies: a running cluster has one; name the one to expect")
    return chosen


@contextmanager
def _complaining() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        raise CommandError(str(error)) from None


@contextmanager
def _terminated_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, too, end the run in order: a running cluster is to be left as it was."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _ProgressBars:
    """A bar per strategy; nothing where there is no terminal."""

    def __init__(self, console: Console, changes: int) -> None:
        self._changes = changes
        self._bars = Bars(
            TextColumn("{task.description:12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("changes"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, strategy: Strategy) -> Callable[[], object]:
        bar = self._bars.add_task(strategy.label, total=self._changes)
        return lambda: self._bars.advance(bar)


def _show(result: Result, console: Console) -> None:
    console.print(table(result))
    console.print(LEGEND, highlight=False)
    for complaint in complaints(result):
        console.print(f"[red]{complaint}[/red]", highlight=False)


def _write(result: Result, output: Path, console: Console) -> None:
    try:
        written = write_report(result, output)
    except OSError as error:
        raise CommandError(f"--output: cannot write to {output}: {error.strerror}") from None
    console.print(f"\nwritten: {', '.join(str(path) for path in written)}", soft_wrap=True)
    if not can_plot():
        console.print(HINT, highlight=False, markup=False)

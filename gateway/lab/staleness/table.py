"""The result as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

from gateway.lab.staleness.result import Counted, Result, StrategyResult
from gateway.lab.staleness.summary import Summary, summarize

HEADINGS = (
    "strategy",
    "p50",
    "p90",
    "p99",
    "max ms",
    "stale answers",
    "asked every",
    "queries/s idle",
    "changing",
    "own p50",
)
LEGEND = """\
p50 to max: stale window in ms, from the acknowledged write to the first fresh answer of a node.
stale answers: per change and node, of a client that asks every so many ms.
queries/s: transactions in the database, per node, without changes and while they are made; of a
  cluster that runs already, its nodes' questions for a newer version.
own p50: the nodes' own stale window in ms, estimated from their histograms."""


def table(result: Result) -> Table:
    """Return the table of all strategies."""
    shown = Table(title="Stale window", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading == "strategy" else "right")
    for strategy in result.strategies:
        shown.add_row(*cells(strategy, summarize(strategy)))
    return shown


def cells(strategy: StrategyResult, summary: Summary) -> list[str]:
    """Return the texts of a strategy's line, in the order of the headings."""
    windows = (summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.max_ms)
    return [
        strategy.label,
        *map(number, windows),
        number(summary.stale_answers),
        f"{strategy.probe_gap_ms:g} ms",
        number(queries_per_s(strategy.idle)),
        number(queries_per_s(strategy.busy)),
        number(summary.own_p50_ms),
    ]


def complaints(result: Result) -> list[str]:
    """Return a sentence for each strategy under which something went wrong."""
    said = []
    for strategy in result.strategies:
        summary = summarize(strategy)
        if summary.missed:
            said.append(f"{strategy.label}: a node did not show a change {summary.missed} times")
        if summary.failed_answers:
            said.append(f"{strategy.label}: {summary.failed_answers} answers were errors")
    return said


def queries_per_s(counted: Counted) -> float | None:
    """Return transactions per second and node; the nodes' questions where only they are known."""
    return counted.questions if counted.transactions is None else counted.transactions


def number(value: float | None) -> str:
    """Return a figure with as many digits as mean something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"

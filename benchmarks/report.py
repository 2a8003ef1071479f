"""The figures as a table on the terminal, as JSON, and as Markdown in docs/performance.md."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.scenarios import Effort, Result
from gateway import __version__

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
_HEADINGS = ("contender", "requests/s", "p50 ms", "p99 ms", "CPU µs", "RSS MB", "errors", "ratio")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Results that belong side by side."""

    title: str
    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class Report:
    """One whole run."""

    effort: Effort
    scenarios: Sequence[Scenario]


def print_scenario(scenario: Scenario) -> None:
    """Show one scenario's table."""
    table = Table(*_HEADINGS, title=scenario.title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in _rows(scenario):
        table.add_row(*row)
    Console().print(table)


def write_json(report: Report) -> Path:
    """Write the run to a new file in benchmarks/results and return its path."""
    now = datetime.now(UTC)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    document = {"at": now.isoformat(), "version": __version__, "machine": _machine()}
    path.write_text(json.dumps(document | asdict(report), indent=2) + "\n")
    return path


def record(report: Report) -> None:
    """Put the run between the two marks of docs/performance.md."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{''.join(_markdown(report))}\n{END}{after}")


def _markdown(report: Report) -> Iterator[str]:
    effort = report.effort
    yield (
        f"Version {__version__}, {datetime.now(UTC):%Y-%m-%d}, {_machine()}; "
        f"medians of {effort.rounds} rounds of {effort.round_s:g} s.\n"
    )
    for scenario in report.scenarios:
        yield f"\n### {scenario.title}\n\n"
        yield f"| {' | '.join(_HEADINGS)} |\n|---|{'---:|' * (len(_HEADINGS) - 1)}\n"
        yield from (f"| {' | '.join(row)} |\n" for row in _rows(scenario))


def _rows(scenario: Scenario) -> Iterator[tuple[str, ...]]:
    for result in scenario.results:
        yield (
            result.contender,
            f"{result.requests_per_s:,.0f}",
            f"{result.p50_ms:.2f}",
            f"{result.p99_ms:.2f}",
            f"{result.cpu_us_per_request:.1f}",
            f"{result.rss_mb:.0f}",
            str(result.errors),
            f"{result.ratio:.2f}",
        )


def _machine() -> str:
    """Return the processor's name, as far as the system tells, and the Python version."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}, Python {platform.python_version()}"

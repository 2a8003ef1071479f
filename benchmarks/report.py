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

from benchmarks.measure import Effort, Result
from benchmarks.memory import Footprint
from gateway import __version__

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
_HASHES = "### "
BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
_HEADINGS = ("contender", "requests/s", "p50 ms", "p99 ms", "CPU µs", "RSS MB", "errors", "ratio")
_MEMORY_HEADINGS = ("contender", "routes", "RSS MB", "KB per idle connection")


@dataclass(frozen=True, slots=True)
class Figures:
    """Results that belong side by side, and the bars they keep or miss."""

    name: str
    title: str
    results: Sequence[Result]
    bars: Sequence[str]


@dataclass(frozen=True, slots=True)
class Memory:
    """Footprints that belong side by side."""

    name: str
    title: str
    footprints: Sequence[Footprint]


Section = Figures | Memory


@dataclass(frozen=True, slots=True)
class Report:
    """One whole run."""

    effort: Effort
    scenarios: Sequence[Section]


def print_section(section: Section) -> None:
    """Show one section's table, and its bars below."""
    table = Table(*_headings(section), title=section.title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in _rows(section):
        table.add_row(*row)
    Console().print(table, *_bars(section), sep="\n")


def write_json(report: Report) -> Path:
    """Write the run to a new file in benchmarks/results and return its path."""
    now = datetime.now(UTC)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    document = {"at": now.isoformat(), "version": __version__, "machine": _machine()}
    path.write_text(json.dumps(document | asdict(report), indent=2) + "\n")
    return path


def record(report: Report, *, keep_others: bool) -> None:
    """Put the run between the two marks of docs/performance.md.

    ``keep_others``: sections that are there and that this run has nothing for stay as they are.
    """
    before, _, rest = PAGE.read_text().partition(BEGIN)
    recorded, _, after = rest.partition(END)
    sections = dict(_split(recorded)) if keep_others else {}
    sections |= {section.title: _markdown(section, report.effort) for section in report.scenarios}
    body = "".join(f"\n{_HASHES}{title}\n\n{text}" for title, text in sections.items())
    PAGE.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}")


def _split(recorded: str) -> Iterator[tuple[str, str]]:
    """Yield titles and texts of the sections of a page."""
    for section in recorded.split(f"\n{_HASHES}")[1:]:
        title, _, text = section.partition("\n")
        yield title, f"{text.strip()}\n"


def _markdown(section: Section, effort: Effort) -> str:
    headings = _headings(section)
    lines = [
        f"| {' | '.join(headings)} |",
        f"|---|{'---:|' * (len(headings) - 1)}",
        *(f"| {' | '.join(row)} |" for row in _rows(section)),
        *(f"\nBar {bar}." for bar in _bars(section)),
        f"\n{_origin(section, effort)}.",
    ]
    return "".join(f"{line}\n" for line in lines)


def _origin(section: Section, effort: Effort) -> str:
    run = f"Version {__version__}, {datetime.now(UTC):%Y-%m-%d}, {_machine()}"
    if isinstance(section, Memory):
        return run
    return f"{run}; medians of {effort.rounds} rounds of {effort.round_s:g} s"


def _headings(section: Section) -> Sequence[str]:
    return _HEADINGS if isinstance(section, Figures) else _MEMORY_HEADINGS


def _bars(section: Section) -> Sequence[str]:
    return section.bars if isinstance(section, Figures) else ()


def _rows(section: Section) -> Iterator[tuple[str, ...]]:
    if isinstance(section, Figures):
        return (_result(result) for result in section.results)
    return (_footprint(footprint) for footprint in section.footprints)


def _result(result: Result) -> tuple[str, ...]:
    return (
        result.contender,
        f"{result.requests_per_s:,.0f}",
        f"{result.p50_ms:.2f}",
        f"{result.p99_ms:.2f}",
        f"{result.cpu_us_per_request:.1f}",
        f"{result.rss_mb:.0f}",
        str(result.errors),
        f"{result.ratio:.2f}",
    )


def _footprint(footprint: Footprint) -> tuple[str, ...]:
    connection_kb = footprint.connection_kb
    return (
        footprint.contender,
        footprint.routes,
        f"{footprint.rss_mb:.0f}",
        "" if connection_kb is None else f"{connection_kb:.1f}",
    )


def _machine() -> str:
    """Return the processor's name, as far as the system tells, and the Python version."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}, Python {platform.python_version()}"

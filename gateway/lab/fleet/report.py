"""The figures as tables, and as files for other programs and for the documentation."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from gateway import __version__
from gateway.lab.fleet.figures import CellResult, Load, Restart
from gateway.lab.fleet.plan import cores
from gateway.lab.plotting import can_plot

BEGIN, END = "<!-- figures: written by gateway lab fleet -->", "<!-- end of figures -->"
PLOT = "fleet.svg"
HINT = "for the plot: pip install 'gateway-cluster[lab]'"
LEGENDS = {
    "Load of PostgreSQL": """\
tx/s: its transactions by pg_stat_database, while nothing changes and while one writer changes
routes; all but the loads are single statements. CPU: of all its processes, in % of one core; also
as ms per node, for a second of idling and for a change. MB: of all its processes (PSS).""",
    "Stale window": """\
p50 to max: of each change on each node, from its commit to its apply; own: by the node's own
measure. write: latency of the writing transaction. simulators: CPU of the worker processes, in %
of one core; late: how long one of them kept its nodes waiting at most. bounded by: what other than
PostgreSQL makes the figures worse than they would be.""",
    "PostgreSQL restarted": """\
away: how long it took no connections. synced: from then until all nodes had asked it again;
connected: until all connections were there again. next change: stale window of the first change
after that, on the slowest node.""",
}

_Column = tuple[str, Callable[[CellResult], object]]


@dataclass(frozen=True, slots=True)
class FleetResult:
    """A whole run: when, on what, with which settings, and the cells in their order."""

    started_at: str
    effort: Mapping[str, object]
    settings: Mapping[str, object]
    cells: Sequence[CellResult]
    machine: Mapping[str, object]


def tables(results: Sequence[CellResult]) -> Iterator[tuple[Table, str]]:
    """Yield each table that there is something for, with its legend."""
    for title, columns, shown in _tables(results):
        yield _table(title, columns, shown), LEGENDS[title]


def complaints(results: Sequence[CellResult]) -> list[str]:
    """Return a sentence for each thing that went wrong."""
    return [f"{result.cell.label}: {said}" for result in results for said in _complaints(result)]


def write_report(result: FleetResult, directory: Path) -> list[Path]:
    """Write result.json, result.csv, result.md and, with matplotlib, fleet.svg; return them.

    Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        "result.json": json.dumps(asdict(result), indent=1) + "\n",
        "result.md": "\n".join(_markdown(result)) + "\n",
    }
    if can_plot():
        texts[PLOT] = _plot(result.cells)
    for name, text in texts.items():
        (directory / name).write_text(text)
    _write_csv(result.cells, directory / "result.csv")
    return [directory / name for name in (*texts, "result.csv")]


def record(result: FleetResult, page: Path) -> None:
    """Put the tables between the two marks of a page, and the plot beside it: img/fleet.svg.

    Raises OSError, and ValueError if the page has no marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no lines '{BEGIN}' and '{END}'")
    tables_text = "\n".join(_markdown(result)).strip()
    page.write_text(f"{before}{BEGIN}\n\n{tables_text}\n\n{END}{after}")
    if can_plot():
        (page.parent / "img").mkdir(exist_ok=True)
        (page.parent / "img" / PLOT).write_text(_plot(result.cells))


def _plot(results: Sequence[CellResult]) -> str:
    from gateway.lab.fleet.plot import plot  # noqa: PLC0415 - an optional dependency

    return plot(results)


def _complaints(result: CellResult) -> Iterator[str]:
    if result.problem:
        yield result.problem
    if result.propagation and result.propagation.missed:
        yield f"nodes did not apply a change {result.propagation.missed} times"
    if result.failures or result.full_loads or result.strategy_restarts:
        yield (
            f"{result.failures} syncs failed, {result.full_loads} times everything was loaded "
            f"again, {result.strategy_restarts} strategies restarted; last error: "
            f"{result.last_error or 'none'}"
        )


def _write_csv(results: Sequence[CellResult], path: Path) -> None:
    rows = [dict(_flat(asdict(result))) for result in results]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, list):
            yield from ((f"{prefix}{name}.{number}", one) for number, one in enumerate(value, 1))
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _markdown(result: FleetResult) -> Iterator[str]:
    facts, settings = result.machine, result.settings
    yield (
        f"Version {facts['gateway']}, {result.started_at[:10]}, {facts['cores']} cores "
        f"({facts['processor']}) for simulators and database together, Python "
        f"{facts['python']}, {', '.join(f'{name} {value}' for name, value in settings.items())}; "
        f"{result.effort['changes']} changes in {result.effort['seconds']} s.\n"
    )
    for title, columns, shown in _tables(result.cells):
        yield f"### {title}\n"
        yield from _markdown_table(columns, shown)
        yield f"\n{LEGENDS[title]}\n"
    yield from (f"- {said}" for said in complaints(result.cells))


def _tables(results: Sequence[CellResult]) -> Iterator[tuple[str, list[_Column], list[CellResult]]]:
    for title, columns in _TABLES.items():
        shown = [result for result in results if columns is not _RESTART_COLUMNS or result.restart]
        if shown:
            yield title, columns, shown


def _markdown_table(columns: Sequence[_Column], results: Sequence[CellResult]) -> Iterator[str]:
    yield f"| {' | '.join(heading for heading, _ in columns)} |"
    yield f"|---|{'---:|' * (len(columns) - 1)}"
    for result in results:
        yield f"| {' | '.join(_text(value(result)) for _, value in columns)} |"


def _table(title: str, columns: Sequence[_Column], results: Sequence[CellResult]) -> Table:
    shown = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, _ in columns:
        shown.add_column(heading, justify="left" if heading == "strategy" else "right")
    for result in results:
        shown.add_row(
            *(_text(value(result)) for _, value in columns), style="red" if result.problem else ""
        )
    return shown


def _text(value: object) -> str:
    """Return a figure with about three digits; what is not known is a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _database_cores(phase: Load | Restart | None) -> float | None:
    return phase.database_cores if phase else None


def _simulators(result: CellResult) -> float | None:
    load = result.changing or result.idle
    return _percent(sum(load.simulator_cores)) if load else None


def _control_planes(result: CellResult) -> float | None:
    load = result.changing or result.idle
    return _percent(load.control_plane_cores) if load and result.cell.strategy.is_hybrid else None


def _bounded_by(result: CellResult) -> str:
    if result.problem:
        return "failed"
    return result.changing.limited_by if result.changing else ""


def machine() -> dict[str, object]:
    """Return what the figures depend on, besides the software that is not ours."""
    return {
        "cores": cores(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "gateway": __version__,
    }


def _processor() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


_WHICH: list[_Column] = [
    ("strategy", lambda r: r.cell.strategy.label),
    ("nodes", lambda r: r.cell.nodes),
]
_LOAD_COLUMNS: list[_Column] = [
    *_WHICH,
    ("connections", lambda r: r.connections),
    ("tx/s idle", lambda r: r.idle and r.idle.transactions_per_s),
    ("changing", lambda r: r.changing and r.changing.transactions_per_s),
    ("CPU % idle", lambda r: _percent(_database_cores(r.idle))),
    ("changing", lambda r: _percent(_database_cores(r.changing))),
    ("ms a node, idle", lambda r: r.idle_cost_ms),
    ("a change", lambda r: r.change_cost_ms),
    ("MB", lambda r: r.database_memory_mb),
    ("control planes %", _control_planes),
]
_WINDOW_COLUMNS: list[_Column] = [
    *_WHICH,
    ("p50 ms", lambda r: r.propagation and r.propagation.each and r.propagation.each.p50_ms),
    ("p99 ms", lambda r: r.propagation and r.propagation.each and r.propagation.each.p99_ms),
    ("max ms", lambda r: r.propagation and r.propagation.each and r.propagation.each.max_ms),
    ("own p50", lambda r: r.own_propagation and r.own_propagation.p50_ms),
    ("write p50", lambda r: r.write and r.write.p50_ms),
    ("p99 ms", lambda r: r.write and r.write.p99_ms),
    ("simulators %", _simulators),
    ("late ms", lambda r: r.changing and 1000 * r.changing.longest_stall_s),
    ("bounded by", _bounded_by),
]
_RESTART_COLUMNS: list[_Column] = [
    *_WHICH,
    ("away s", lambda r: r.restart and r.restart.down_s),
    ("synced s", lambda r: r.restart and r.restart.all_synced_after_s),
    ("connected s", lambda r: r.restart and r.restart.all_connected_after_s),
    ("next change ms", lambda r: r.restart and r.restart.next_change_everywhere_ms),
    ("failed syncs", lambda r: r.restart and r.restart.failures),
    ("database %", lambda r: _percent(_database_cores(r.restart))),
]
_TABLES = {
    "Load of PostgreSQL": _LOAD_COLUMNS,
    "Stale window": _WINDOW_COLUMNS,
    "PostgreSQL restarted": _RESTART_COLUMNS,
}

"""The picture of a run as SVG: stale window and database load against the number of nodes.

Needs matplotlib, which the extra `lab` brings.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from gateway.lab.fleet.figures import CellResult
from gateway.lab.plotting import COLORS, DASHES

MARKERS = "os^Dv<>"
BOUNDED = "open mark: simulators or machine at their limit"

_Figure = Callable[[CellResult], float | None]


def plot(results: Sequence[CellResult]) -> str:
    """Return the SVG text."""
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "gateway", "font.size": 10}
    with mpl.rc_context(style):
        text = io.StringIO()
        metadata = {"Date": None, "Creator": "gateway lab"}
        _figure(results).savefig(text, format="svg", metadata=metadata)
        return text.getvalue()


def _figure(results: Sequence[CellResult]) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    windows, load = figure.subplots(1, 2)
    _lines(windows, results, _p99_ms)
    _lines(load, results, _database_percent)
    windows.set_title("stale window, p99 over nodes and changes, in ms", loc="left", fontsize=10)
    load.set_title("CPU of PostgreSQL while changing, % of a core", loc="left", fontsize=10)
    windows.set_yscale("log")
    windows.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:,g}"))
    load.set_ylim(bottom=0)
    sizes = sorted({result.cell.nodes for result in results})
    for axes in (windows, load):
        _decorate(axes, sizes)
    handles, labels = windows.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=len(labels), loc="outside upper left")
    if any(_is_bounded(result) for result in results):
        figure.supxlabel(BOUNDED, fontsize=9)
    return figure


def _lines(axes: Axes, results: Sequence[CellResult], value: _Figure) -> None:
    """Draw a line per strategy; a figure that something else bounds gets an open mark."""
    by_strategy = groupby(results, key=lambda result: result.cell.strategy.label)
    for index, (label, cells) in enumerate(by_strategy):
        points = [(r.cell.nodes, value(r), _is_bounded(r)) for r in cells]
        known = [(nodes, found, bounded) for nodes, found, bounded in points if found is not None]
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        axes.plot(
            [nodes for nodes, _, _ in known],
            [found for _, found, _ in known],
            color=color,
            linestyle=DASHES[index % len(DASHES)],
            marker=marker,
            label=label,
        )
        for nodes, found, bounded in known:
            if bounded:
                axes.plot(nodes, found, marker, color=color, markerfacecolor="white", zorder=3)


def _decorate(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("nodes")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _p99_ms(result: CellResult) -> float | None:
    each = result.propagation.each if result.propagation else None
    return each.p99_ms if each else None


def _database_percent(result: CellResult) -> float | None:
    cores = result.changing.database_cores if result.changing else None
    return None if cores is None else 100 * cores


def _is_bounded(result: CellResult) -> bool:
    return bool(result.changing and result.changing.limited_by)

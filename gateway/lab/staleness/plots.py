"""The plots, as SVG whose text stays text. Needs matplotlib, which the extra `lab` brings.

Colours are those of Okabe and Ito, which people of any colour vision can tell apart; marks and
labels tell the same once more.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from gateway.lab.plotting import COLORS, DASHES
from gateway.lab.staleness.changes import Verdict
from gateway.lab.staleness.result import MeasuredChange, Observation, Result, Seen, StrategyResult
from gateway.lab.staleness.summary import Summary, summarize, typical
from gateway.lab.staleness.table import number, queries_per_s

FRESH, STALE, FAILED, GREY = "#0072B2", "#D55E00", "#000000", "#666666"
LEAST_MS = 0.5
"""Where the logarithmic axis of windows begins: below that is what cannot be resolved."""

BEFORE_SHARE = 0.2
"""How much of a timeline may lie before the write's end, as a share of the window behind it."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


def plots(result: Result) -> dict[str, str]:
    """Return the SVG texts by name of file, without its ending."""
    drawn: dict[str, Callable[[Result], Figure]] = {
        "distribution": _distribution,
        "histograms": _histograms,
        "timeline": _timeline,
        "interval": _interval,
    }
    return {name: _svg(name, draw, result) for name, draw in drawn.items()}


def _svg(name: str, draw: Callable[[Result], Figure], result: Result) -> str:
    # The salt makes ids differ between plots, which may stand in one page, but not between runs.
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = draw(result)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": "gateway lab"})
    return text.getvalue()


def _distribution(result: Result) -> Figure:
    """Draw which share of changes was visible how soon, a line per strategy."""
    figure, axes = _one(7.5, 4.2)
    for index, strategy in enumerate(result.strategies):
        windows = _windows(strategy)
        shares = [(rank + 1) / len(windows) for rank in range(len(windows))]
        axes.step(
            [LEAST_MS, *windows],
            [0, *shares],
            where="post",
            label=strategy.label,
            color=_color(index),
            linestyle=DASHES[index % len(DASHES)],
            linewidth=1.8,
        )
    _log_ms(axes, "stale window: write acknowledged to first fresh answer")
    axes.set_ylabel("changes visible on a node")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _histograms(result: Result) -> Figure:
    """Draw a histogram per strategy, all above the same axis of time."""
    figure, panels = _panels(len(result.strategies), 1.35)
    most = max((max(_windows(s), default=1) for s in result.strategies), default=1)
    edges = _log_edges(LEAST_MS, max(most, 10 * LEAST_MS) * 1.05)
    for index, (axes, strategy) in enumerate(zip(panels, result.strategies, strict=True)):
        axes.hist(_windows(strategy), edges, color=_color(index))
        _mark_percentiles(axes, summarize(strategy))
        axes.set_title(strategy.label, loc="left", fontsize=10, fontweight="bold")
        axes.set_ylabel("number")
        axes.set_xscale("log")
        axes.label_outer()
    _log_ms(panels[-1], "stale window")
    return figure


def _mark_percentiles(axes: Axes, summary: Summary) -> None:
    for name, value in (("p50", summary.p50_ms), ("p99", summary.p99_ms)):
        if value is not None:
            axes.axvline(max(value, LEAST_MS), color="black", linewidth=1, linestyle=(0, (3, 2)))
            axes.annotate(
                f" {name} {number(value)} ms ",
                (max(value, LEAST_MS), 1),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                va="bottom",
                ha="right" if name == "p50" else "left",
            )


def _timeline(result: Result) -> Figure:
    """Draw every answer of each strategy's typical change, a line per node."""
    figure, panels = _panels(len(result.strategies), 1.5, each_own_x=True)
    for axes, strategy in zip(panels, result.strategies, strict=True):
        axes.set_title(strategy.label, loc="left", fontsize=10, fontweight="bold")
        change = typical(strategy.changes)
        if change is None:
            continue
        for row, observation in enumerate(change.observations):
            _answers(axes, row, observation)
        axes.axvline(0, color="black", linewidth=1)
        axes.set_xlim(left=_beginning(change))
        axes.set_yticks(range(len(change.observations)), [o.node for o in change.observations])
        axes.set_ylim(len(change.observations) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_title(f"{change.kind} no. {change.number}", loc="right", fontsize=9, color=GREY)
    panels[-1].set_xlabel("ms after the write was acknowledged (black line)")
    panels[0].legend(
        *_legend(panels), frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1.25)
    )
    return figure


def _answers(axes: Axes, row: int, observation: Observation) -> None:
    looks = {
        "old, write under way": (GREY, "|"),
        "stale": (STALE, "|"),
        "fresh": (FRESH, "o"),
        "error": (FAILED, "x"),
    }
    for label, (color, marker) in looks.items():
        times = [seen.received_ms for seen in observation.answers if _meaning(seen) == label]
        if times:
            axes.plot(times, [row] * len(times), marker, color=color, label=label, markersize=7)


def _beginning(change: MeasuredChange) -> float:
    """Return where the timeline begins: with the first answer, if that takes not too much of it."""
    first = min(seen.received_ms for o in change.observations for seen in o.answers)
    window_ms = max(change.window_ms or 0.0, LEAST_MS)
    return max(first - 0.02 * window_ms, -BEFORE_SHARE * window_ms)


def _meaning(seen: Seen) -> str:
    if seen.verdict is Verdict.FAILED:
        return "error"
    if seen.verdict is Verdict.FRESH:
        return "fresh"
    return "stale" if seen.sent_ms >= 0 else "old, write under way"


def _legend(panels: Sequence[Axes]) -> tuple[list[Any], list[str]]:
    """Return one entry per kind of answer, from whichever panels have it."""
    entries: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return list(entries.values()), list(entries)


def _interval(result: Result) -> Figure:
    """Draw what a shorter poll interval brings and costs, beside strategies that are told."""
    figure, axes = _one(7.5, 4.4)
    costs = axes.twinx()
    told = [s for s in result.strategies if s.poll_interval_s is None]
    polls = sorted(
        (s for s in result.strategies if s.poll_interval_s is not None),
        key=lambda s: s.poll_interval_s or 0.0,
    )
    handles = [
        *_windows_of(axes, told, first=0, joined=False),
        *_windows_of(axes, polls, first=len(told), joined=True),
        *_costs_of(costs, told, first=0, joined=False),
        *_costs_of(costs, polls, first=len(told), joined=True),
    ]
    axes.set_xticks(
        range(len(told) + len(polls)),
        [*(s.label for s in told), *(s.label.replace(":", "\nevery ") for s in polls)],
    )
    axes.set_xlim(-0.6, len(told) + len(polls) - 0.4)
    axes.set_yscale("log")
    axes.set_ylim(bottom=LEAST_MS)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("stale window in ms", color=COLORS[0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:,g}"))
    costs.set_ylabel("queries/s per node while nothing changes", color=COLORS[1])
    costs.set_ylim(bottom=0)
    costs.grid(visible=False)
    costs.spines["right"].set_visible(True)
    by_label = {handle.get_label(): handle for handle in handles}
    figure.legend(handles=list(by_label.values()), frameon=False, ncols=3, loc="outside upper left")
    return figure


def _windows_of(
    axes: Axes, strategies: Sequence[StrategyResult], *, first: int, joined: bool
) -> list[Any]:
    """Draw median and 99th percentile of each, joined by lines where the axis is an interval."""
    summaries = [summarize(strategy) for strategy in strategies]
    if not summaries:
        return []
    places = list(range(first, first + len(summaries)))
    p50 = [_at_least(summary.p50_ms) for summary in summaries]
    p99 = [_at_least(summary.p99_ms) for summary in summaries]
    line = "-" if joined else "none"
    axes.vlines(places, p50, p99, color=COLORS[0], linewidth=1)
    return [
        *axes.plot(places, p50, "o", linestyle=line, color=COLORS[0], label="window, p50"),
        *axes.plot(
            places,
            p99,
            "o",
            linestyle=line,
            color=COLORS[0],
            label="window, p99",
            markerfacecolor="white",
        ),
    ]


def _costs_of(
    axes: Axes, strategies: Sequence[StrategyResult], *, first: int, joined: bool
) -> list[Any]:
    """Draw the database's work, as far as it is known."""
    costs = [(x, queries_per_s(s.idle)) for x, s in enumerate(strategies, start=first)]
    known = [(x, cost) for x, cost in costs if cost is not None]
    if not known:
        return []
    places, heights = zip(*known, strict=True)
    line = ":" if joined else "none"
    return axes.plot(places, heights, "s", linestyle=line, color=COLORS[1], label="queries/s")


def _log_ms(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.set_xlim(left=LEAST_MS)
    axes.set_xlabel(f"{label}, in ms")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:,g}"))


def _log_edges(least: float, most: float, number: int = 60) -> list[float]:
    return [least * (most / least) ** (step / number) for step in range(number + 1)]


def _windows(strategy: StrategyResult) -> list[float]:
    """Return all windows in order; those below the axis stand at its beginning."""
    known = (o.window_ms for o in strategy.observations())
    return sorted(_at_least(window) for window in known if window is not None)


def _at_least(window_ms: float | None) -> float:
    return max(window_ms or 0.0, LEAST_MS)


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def _one(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _panels(number: int, height: float, *, each_own_x: bool = False) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7.5, height * number + 0.8), layout="constrained")
    grid = figure.subplots(number, 1, sharex=not each_own_x, squeeze=False)
    return figure, list(grid[:, 0])

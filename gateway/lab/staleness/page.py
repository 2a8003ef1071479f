"""The report: one HTML file with figures and plots in it, that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from gateway.lab.staleness.result import Result
from gateway.lab.staleness.summary import summarize
from gateway.lab.staleness.table import HEADINGS, LEGEND, cells, complaints

CAPTIONS = {
    "distribution": "How soon changes were visible. Steep and far left is good; where a line "
    "reaches 50 % and 99 % are the median and the 99th percentile.",
    "histograms": "The same windows, counted.",
    "timeline": "One change of median window per strategy: every answer of every probed node from "
    "just before the write until the first fresh one. Each strategy has its own scale.",
    "interval": "What it costs: the stale window, and the database's work while nothing changes.",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 2rem 0; } figure svg { max-width: 100%; height: auto; }
figcaption, .facts { color: #555; } .complaint { color: #b00; }
"""


def page(result: Result, plots: Mapping[str, str]) -> str:
    """Return the report as HTML."""
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>The stale window</title><style>{_STYLE}</style></head><body>",
            "<h1>The stale window</h1>",
            f'<p class="facts">{escape(_facts(result))}</p>',
            _table(result),
            *(f'<p class="complaint">{escape(said)}.</p>' for said in complaints(result)),
            f'<p class="facts">{"<br>".join(map(escape, LEGEND.splitlines()))}</p>',
            *(_figure(name, svg) for name, svg in plots.items()),
            "</body></html>\n",
        ]
    )


def _facts(result: Result) -> str:
    machine = result.machine
    changes = ", ".join(f"{len(s.changes)} under {s.label}" for s in result.strategies)
    load = "with other clients' load on all proxies" if result.under_load else "without other load"
    return (
        f"Measured {result.started_at} by gateway {machine['gateway']} on {machine['cores']} cores "
        f"({machine['system']}, Python {machine['python']}), {load}, {result.routes} further "
        f"routes, seed {result.seed}. Changes: {changes}."
    )


def _table(result: Result) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS)
    lines = (cells(strategy, summarize(strategy)) for strategy in result.strategies)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in line) for line in lines)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(name: str, svg: str) -> str:
    # Without its XML declaration an SVG may stand in HTML as it is.
    drawing = svg[svg.index("<svg") :]
    return (
        f'<figure id="{name}">{drawing}<figcaption>{escape(CAPTIONS[name])}</figcaption></figure>'
    )

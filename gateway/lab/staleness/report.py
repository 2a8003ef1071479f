"""Writes a run's results into a directory, as far as what is installed allows."""

from __future__ import annotations

from pathlib import Path

from gateway.lab.plotting import can_plot
from gateway.lab.staleness.files import write_csv, write_json
from gateway.lab.staleness.page import page
from gateway.lab.staleness.result import Result

HINT = "for plots and report.html: pip install 'gateway-cluster[lab]'"


def write_report(result: Result, directory: Path) -> list[Path]:
    """Write result.json and result.csv, with matplotlib also report.html and the plots as SVG.

    Return what was written. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / "result.json", directory / "result.csv"]
    write_json(result, written[0])
    write_csv(result, written[1])
    if can_plot():
        written += _write_page(result, directory)
    return written


def _write_page(result: Result, directory: Path) -> list[Path]:
    from gateway.lab.staleness.plots import plots  # noqa: PLC0415 - an optional dependency

    drawn = plots(result)
    texts = {f"{name}.svg": svg for name, svg in drawn.items()}
    texts["report.html"] = page(result, drawn)
    for name, text in texts.items():
        (directory / name).write_text(text)
    return [directory / name for name in texts]

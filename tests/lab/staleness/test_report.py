"""The report: a table, files for programs, and a page with plots that needs nothing else."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from gateway.lab.plotting import can_plot
from gateway.lab.staleness.page import CAPTIONS, page
from gateway.lab.staleness.plots import plots
from gateway.lab.staleness.report import write_report
from gateway.lab.staleness.result import Result
from gateway.lab.staleness.table import complaints, table

from .making import result, strategy

NOTIFY = strategy("notify", [[3.0, 4.0], [5.0, 6.0], [4.0, 0.0]])
POLL = strategy("poll:100ms", [[30.0, 40.0], [55.0, 96.0], [80.0, None]], 0.1)


@pytest.fixture(scope="module")
def measured() -> Result:
    return result(NOTIFY, POLL)


@pytest.fixture(scope="module")
def drawn(measured: Result) -> dict[str, str]:
    return plots(measured)


def test_the_table_has_a_line_per_strategy(measured: Result) -> None:
    console = Console(width=120, record=True)
    console.print(table(measured))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["notify", "4.0", "6.0", "6.0", "6.0", "2.8", "1", "ms", "2.0", "20.0", "7.5"] in lines
    assert any(line[:1] == ["poll:100ms"] for line in lines)


def test_what_went_wrong_is_said(measured: Result) -> None:
    assert complaints(measured) == ["poll:100ms: a node did not show a change 1 times"]


def test_json_has_figures_changes_and_one_timeline(measured: Result, tmp_path: Path) -> None:
    write_report(measured, tmp_path)
    notify, poll = json.loads((tmp_path / "result.json").read_text())["strategies"]
    assert notify["summary"]["p50_ms"] == 4
    assert notify["per_node_and_s"]["idle"]["transactions"] == 2
    assert notify["own_windows_ms"] == {"5": 0, "10": 3, "+Inf": 3}
    assert [change["kind"] for change in notify["changes"]] == ["add", "change", "delete"]
    assert poll["changes"][2]["nodes"]["node-3"]["window_ms"] is None
    answers = poll["typical_change"]["answers"]["node-2"]
    assert answers[-1]["verdict"] == "fresh"


def test_csv_has_a_line_per_change_and_node(measured: Result, tmp_path: Path) -> None:
    write_report(measured, tmp_path)
    with (tmp_path / "result.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert rows[0] == {
        "strategy": "notify",
        "change": "1",
        "kind": "add",
        "node": "node-2",
        "write_ms": "4.0",
        "window_ms": "3.0",
        "stale_answers": "2",
        "failed_answers": "0",
    }
    assert rows[-1]["window_ms"] == ""


@pytest.mark.parametrize("name", CAPTIONS)
def test_plots_name_strategies_and_units_in_text(drawn: dict[str, str], name: str) -> None:
    ET.fromstring(drawn[name])  # well-formed
    texts = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn[name]))
    assert "notify" in texts
    assert "poll" in texts
    assert re.search(r"\bms\b", texts)


def test_the_page_holds_all_plots_and_asks_nobody(measured: Result, drawn: dict[str, str]) -> None:
    text = page(measured, drawn)
    assert text.count("<svg") == len(CAPTIONS) == 4
    assert not re.search(r'(src|href)="(?!#)', text.replace("xlink:href", "href"))
    assert "@import" not in text
    assert "<td>poll:100ms</td>" in text
    assert "a node did not show a change 1 times" in text


def test_strategies_of_any_number_can_be_drawn() -> None:
    assert len(plots(result(NOTIFY))) == 4
    assert len(plots(result(*(strategy(f"poll:{n}s", [[n * 99.0]], n) for n in range(1, 9))))) == 4


def test_a_strategy_whose_changes_nobody_saw_can_be_drawn() -> None:
    assert len(plots(result(strategy("poll:1s", [[None, None]], 1.0)))) == 4


def test_without_matplotlib_there_are_json_and_csv(
    measured: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert not can_plot()
    written = write_report(measured, tmp_path / "new" / "folder")
    assert {path.name for path in written} == {"result.json", "result.csv"}
    assert all(path.exists() for path in written)

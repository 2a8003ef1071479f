"""Tables, files and the plot of a run."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from gateway.lab.fleet.figures import CellResult
from gateway.lab.fleet.report import (
    BEGIN,
    END,
    FleetResult,
    complaints,
    record,
    tables,
    write_report,
)
from gateway.lab.plotting import can_plot

from .making import load, restart, result

FAILED = CellResult(result("hybrid", 1000).cell, problem="starting: no control plane answers")


def run(*cells: CellResult) -> FleetResult:
    machine = {"cores": 2, "processor": "some", "python": "3", "gateway": "0"}
    effort = {"changes": 50, "seconds": 20.0}
    return FleetResult("2026-01-02T03:04:05", effort, {"heartbeat_interval_s": 1.0}, cells, machine)


def shown(*cells: CellResult) -> str:
    console = Console(width=120, file=io.StringIO())
    for table, legend in tables(cells):
        console.print(table, legend)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_cell_is_a_line_of_both_tables() -> None:
    text = shown(result("poll:5s", 10), result("notify", 1000))
    assert text.count("poll:5s") == text.count("notify") == 2
    assert "1,000" in text
    assert "PostgreSQL restarted" not in text


def test_a_restart_has_a_table_with_those_cells_that_came_to_it() -> None:
    text = shown(result("poll:5s"), result("notify", restart=restart()))
    assert "PostgreSQL restarted" in text
    assert (text.count("poll:5s"), text.count("notify")) == (2, 3)


def test_a_cell_that_failed_is_shown_and_explained() -> None:
    assert "failed" in shown(FAILED)
    assert complaints([FAILED]) == [
        "hybrid with 1000 nodes: starting: no control plane answers",
    ]


def test_saturated_simulators_are_named_where_the_figures_stand() -> None:
    assert "simulators" not in shown(result()).split("bounded by")[1].split("p50 to max")[0]
    busy = result(changing=load(simulator_cores=[0.99, 0.2]))
    assert "simulators" in shown(busy).split("bounded by")[1].split("p50 to max")[0]


def test_missed_changes_and_failed_syncs_are_complaints() -> None:
    found = result(failures=3, full_loads=2, strategy_restarts=1, last_error="no answer")
    assert found.propagation is not None
    found = replace(found, propagation=replace(found.propagation, missed=4))
    missed, failed = complaints([found])
    assert "4 times" in missed
    assert "3 syncs failed" in failed
    assert "no answer" in failed


def test_a_run_without_trouble_has_no_complaints() -> None:
    assert complaints([result()]) == []


def test_the_files_hold_all_figures(tmp_path: Path) -> None:
    cells = (result("poll:1s", 10), result("notify", 100, restart=restart()), FAILED)
    written = write_report(run(*cells), tmp_path / "out")
    assert all(path.exists() for path in written)
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [cell["cell"]["nodes"] for cell in document["cells"]] == [10, 100, 1000]
    assert document["cells"][1]["restart"]["all_synced_after_s"] == 1.25
    with (tmp_path / "out" / "result.csv").open() as file:
        poll, notify, failed = csv.DictReader(file)
    assert poll["changing.simulator_cores.2"] == "0.25"
    assert (poll["restart.down_s"], notify["restart.down_s"]) == ("", "0.5")
    assert failed["problem"] == FAILED.problem


def test_the_markdown_has_one_table_line_per_cell(tmp_path: Path) -> None:
    write_report(run(result("poll:1s", 10), result("notify", 1000)), tmp_path)
    lines = (tmp_path / "result.md").read_text().splitlines()
    assert sum(line.startswith("| notify | 1,000 |") for line in lines) == 2
    tabular = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tabular[:4]} == {tabular[0].count("|")}


def test_a_page_gets_the_figures_of_the_last_run_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\n# After\n")
    for strategy in ("poll:1s", "notify"):
        record(run(result(strategy)), page)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith(f"{END}\n# After\n")
    assert "old" not in text
    assert (text.count("| poll:1s |"), text.count("| notify |")) == (0, 2)


def test_a_page_without_marks_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    page.write_text("# Mine\n")
    with pytest.raises(ValueError, match="has no lines"):
        record(run(result()), page)
    assert page.read_text() == "# Mine\n"


@pytest.mark.skipif(not can_plot(), reason="needs matplotlib")
def test_the_plot_names_every_strategy_and_marks_bounded_figures(tmp_path: Path) -> None:
    cells = (result("poll:1s", 10), result("notify", 10, changing=load(machine_busy=1.0)), FAILED)
    write_report(run(*cells), tmp_path)
    text = " ".join(ET.parse(tmp_path / "fleet.svg").getroot().itertext())
    assert all(name in text for name in ("poll:1s", "notify", "nodes", "open mark"))

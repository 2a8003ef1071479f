"""`gateway lab staleness`: its options, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import lab_staleness
from gateway.cli.app import app
from gateway.lab.cluster import LabError
from gateway.lab.staleness.run import Plan, Progress

from .making import result, strategy

RUNNING = ["--admin-url", "http://127.0.0.1:8001", "--proxy-url", "http://127.0.0.1:8000"]


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["lab", "staleness", *arguments])


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that the command makes, instead of what they would take to carry out."""
    made: list[Plan] = []

    async def note(plan: Plan, progress: Progress) -> object:
        for chosen in plan.strategies:
            progress.begin(chosen)()
        made.append(plan)
        return result(*(strategy(s.label, [[3.0], [4.0]]) for s in plan.strategies))

    monkeypatch.setattr(lab_staleness, "run", note)
    return made


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--strategies", "poll:5"], "--strategies: '5' is no duration: write 100ms"),
        (["--strategies", "poll,"], "--strategies: '' is no strategy"),
        (["--admin-url", "http://a"], "at least one --proxy-url"),
        (["--proxy-url", "http://a"], "--admin-url"),
        (["--upstream-url", "http://a"], "--admin-url"),
        ([*RUNNING, "--status-url", "https://a"], "https://a is not of the form"),
        ([*RUNNING, "--strategies", "notify,poll"], "name the one to expect"),
        ([*RUNNING, "--routes", "10"], "--routes is for clusters of the lab's own"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    plans: list[Plan], arguments: list[str], complaint: str
) -> None:
    assert complaint in str(command(*arguments).exception)
    assert not plans


def test_without_options_all_strategies_are_compared(plans: list[Plan], tmp_path: Path) -> None:
    ran = command("--output", str(tmp_path))
    assert ran.exit_code == 0, ran.exception
    (plan,) = plans
    labels = ["poll:5s", "poll:1s", "poll:100ms", "notify", "hybrid"]
    assert [chosen.label for chosen in plan.strategies] == labels
    assert (plan.nodes, plan.changes, plan.load_connections, plan.running) == (3, 200, 0, None)
    assert all(label in ran.output for label in labels)
    assert (tmp_path / "report.html").exists()


def test_a_running_cluster_is_named_by_its_urls(plans: list[Plan], tmp_path: Path) -> None:
    ran = command(*RUNNING, "--proxy-url", "http://b", "--under-load", "--output", str(tmp_path))
    assert ran.exit_code == 0, ran.exception
    (plan,) = plans
    assert plan.running.proxy_urls == ["http://127.0.0.1:8000", "http://b"]
    assert [chosen.label for chosen in plan.strategies] == ["poll:5s"]
    assert plan.load_connections == lab_staleness.LOAD_CONNECTIONS


def test_without_matplotlib_it_says_how_to_get_plots(
    plans: list[Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.lab.staleness.report.can_plot", lambda: False)
    monkeypatch.setattr(lab_staleness, "can_plot", lambda: False)
    ran = command("--output", str(tmp_path))
    assert "pip install 'gateway-cluster[lab]'" in ran.output
    assert not (tmp_path / "report.html").exists()


def test_a_directory_that_cannot_be_written_to_is_named(plans: list[Plan], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "--output: cannot write" in str(command("--output", str(tmp_path / "file")).exception)


def test_a_measurement_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(plan: Plan, progress: Progress) -> object:
        raise LabError("node-2 ended with exit code 1")

    monkeypatch.setattr(lab_staleness, "run", fail)
    assert str(command().exception) == "node-2 ended with exit code 1"

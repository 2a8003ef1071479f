"""What a run tells: counts, violations with their events, and commands that show them again."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.lab.faults.checker import check
from gateway.lab.faults.history import Event, Fault, Outcome, Recorder, to_line
from gateway.lab.faults.report import Tally, complaint, summary

from .histories import HELD, RUN, Story

LONG_VALUE = "x" * 1000


def a_good_history() -> list[Event]:
    story = Story()
    story.writes(a="1", barrier=HELD)
    story.gives_up(Outcome.UNKNOWN, a="2")
    story.shows("n1", None, None, status=503, seen={})
    story.shows("n1", None, None, status=None, seen={})
    story.events.append(Fault(1.0, "kill", "n1", "begins"))
    story.events.append(Fault(2.0, "kill", "n1", "is over"))
    return story.heals()


def a_bad_history(shown: str = "17") -> list[Event]:
    story = Story()
    story.shows("n1", "0", shown)
    return story.heals()


def printed(item: object) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(item, soft_wrap=True)
    return capture.get()


def test_everything_that_happened_is_counted() -> None:
    tally = Tally.of(a_good_history())
    assert tally.writes == {"ok": 1, "unknown": 1}
    assert tally.barriers == {"held": 1}
    assert tally.probes == {"telling": 2, "refused": 1, "unanswered": 1}
    assert tally.faults == {"kill": 1}


def test_the_table_has_what_happened_and_what_held() -> None:
    history = a_good_history()
    table = printed(summary(check(history), Tally.of(history)))
    assert "notify, 2 nodes, 1 minutes, seed 1" in table
    assert "writes: 1 ok, 1 unknown" in table
    assert "faults: 1 kill" in table


def test_a_violation_is_told_with_its_events_as_they_are_in_the_file() -> None:
    history = a_bad_history()
    (violation,) = check(history).violations
    text = printed(complaint(violation))
    assert "broken: nothing is served that no version contained" in text
    assert to_line(violation.events[-1]).decode().strip() in text


def test_a_long_event_is_shortened() -> None:
    (violation,) = check(a_bad_history(LONG_VALUE)).violations
    assert max(map(len, printed(complaint(violation)).splitlines())) < len(LONG_VALUE)


# -- the command


@pytest.fixture
def saved(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "history.jsonl"
    with Recorder(path) as recorder:
        for event in request.param:
            recorder.record(event)
    return path


@pytest.mark.parametrize("saved", [a_good_history()], indirect=True)
def test_a_good_history_is_judged_so(saved: Path) -> None:
    ran = CliRunner().invoke(app, ["lab", "faults", "--check", str(saved)])
    assert ran.exit_code == 0, ran.output
    assert "broken:" not in ran.output


@pytest.mark.parametrize("saved", [a_bad_history()], indirect=True)
def test_a_bad_history_is_judged_so_and_can_be_judged_again(saved: Path) -> None:
    ran = CliRunner().invoke(app, ["lab", "faults", "--check", str(saved)])
    assert ran.exit_code == 1
    assert "broken: nothing is served that no version contained" in ran.output
    assert f"gateway lab faults --check {saved}" in ran.output
    assert f"gateway lab faults --seed {RUN.seed} " in ran.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--faults", "flood"], "--faults: there is no fault 'flood'"),
        (["--strategy", "poll:"], "--strategy: 'poll:' is no strategy"),
        (["--check", "nowhere.jsonl"], "nowhere.jsonl: No such file"),
        (["--output", "/dev/null/here"], "--output: cannot write to /dev/null/here/history.jsonl"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], complaint: str) -> None:
    ran = CliRunner().invoke(app, ["lab", "faults", *arguments])
    assert ran.exit_code == 1
    assert complaint in str(ran.exception)

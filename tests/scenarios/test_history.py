"""Clusters under writes and faults keep every promise; a broken one is found out.

By hand, for an hour: `gateway lab faults --minutes 60`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.lab.faults.checker import Guarantee, Verdict, check
from gateway.lab.faults.history import Outcome, read, to_line
from gateway.lab.faults.plan import FaultKind
from gateway.lab.faults.report import Tally, replays
from gateway.lab.faults.run import Options, record
from gateway.lab.strategies import parse_strategy
from tests.lab.faults import broken

WITHOUT_HYBRID = [kind for kind in FaultKind if kind is not FaultKind.KILL_CONTROL_PLANE]


def run(strategies: list[str], minutes: float, faults: list[FaultKind], seed: int = 1) -> Options:
    return Options(
        seed=seed,
        minutes=minutes,
        nodes=3,
        strategies=[parse_strategy(strategy) for strategy in strategies],
        faults=faults,
    )


async def judged(options: Options, history: Path) -> tuple[Verdict, Tally]:
    await record(options, history, lambda _: None)
    return check(read(history)), Tally.of(read(history))


def told(verdict: Verdict, history: Path) -> str:
    """Return what to know of a run that broke a promise."""
    lines = [f"{violation.guarantee}: {violation.says}" for violation in verdict.violations]
    evidence = {to_line(event) for violation in verdict.violations for event in violation.events}
    return "\n".join([*lines, *map(bytes.decode, sorted(evidence)), *replays(verdict.run, history)])


def check_that_it_was_a_trial(options: Options, verdict: Verdict, tally: Tally) -> None:
    """Nothing holds only because nothing happened; a slow machine may have come to few faults."""
    assert len(set(tally.faults) & set(options.faults)) > 3
    assert set(verdict.tested) == set(Guarantee)
    assert min(verdict.tested.values()) >= len(verdict.run.nodes)
    assert tally.writes[Outcome.OK] > 20


@pytest.mark.timeout(300)
async def test_notified_and_polling_nodes_keep_every_promise(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    options = run(["notify", "poll:200ms"], 1.25, WITHOUT_HYBRID)
    verdict, tally = await judged(options, history)
    assert verdict.holds, told(verdict, history)
    check_that_it_was_a_trial(options, verdict, tally)


@pytest.mark.timeout(300)
async def test_data_planes_keep_every_promise(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    options = run(["hybrid"], 0.5, list(FaultKind))
    verdict, tally = await judged(options, history)
    assert verdict.holds, told(verdict, history)
    check_that_it_was_a_trial(options, verdict, tally)


@pytest.mark.timeout(300)
async def test_a_strategy_that_trusts_timestamps_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = [*map(str, broken.publish(tmp_path)), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    for minutes in (0.1, 0.3, 1.0):  # a busy machine may come to too little in the first ones
        options = replace(run([broken.NAME], minutes, []), heal_bound_s=2)
        verdict, _ = await judged(options, tmp_path / "history.jsonl")
        if Guarantee.ONE_VERSION in verdict.broken:
            break
    assert Guarantee.ONE_VERSION in verdict.broken
    assert Guarantee.SURVIVES not in verdict.broken  # the database is right, the nodes are wrong

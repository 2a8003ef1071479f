"""The schedule of faults: the same for the same seed, and over in time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lab.cluster import LabError
from gateway.lab.faults.plan import POSTGRES, FaultKind, names, parse_faults, plan

VICTIMS = {
    FaultKind.KILL: ["node-1", "node-2"],
    FaultKind.RESET: ["node-1", "node-2"],
    FaultKind.RESTART_POSTGRES: [POSTGRES],
    FaultKind.KILL_CONTROL_PLANE: [],
}
SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(SEEDS, st.floats(1, 300))
def test_a_victim_suffers_one_fault_at_a_time_and_none_outlasts_the_run(
    seed: int, duration_s: float
) -> None:
    for victim, faults in plan(seed, duration_s, VICTIMS).items():
        at_s = 0.0
        for fault in faults:
            assert fault.victim == victim
            assert victim in VICTIMS[fault.kind]
            assert fault.at_s > at_s
            at_s = fault.ends_s
        assert at_s < duration_s


@settings(deadline=None)
@given(SEEDS)
def test_a_seed_stands_for_one_schedule_whoever_else_there_is(seed: int) -> None:
    assert plan(seed, 100, VICTIMS) == plan(seed, 100, VICTIMS)
    more = {**VICTIMS, FaultKind.PAUSE: ["node-3"]}
    assert plan(seed, 100, more).items() >= plan(seed, 100, VICTIMS).items()


def test_another_seed_is_another_schedule() -> None:
    assert plan(1, 100, VICTIMS) != plan(2, 100, VICTIMS)


def test_in_two_minutes_everybody_has_suffered_everything() -> None:
    faults = plan(1, 120, VICTIMS)
    suffered = {(fault.kind, fault.victim) for lane in faults.values() for fault in lane}
    assert suffered == {(kind, name) for kind, victims in VICTIMS.items() for name in victims}


def test_faults_are_named_on_the_command_line() -> None:
    assert parse_faults(names(FaultKind)) == list(FaultKind)
    assert parse_faults("kill, cut") == [FaultKind.KILL, FaultKind.CUT]
    assert parse_faults("") == []
    with pytest.raises(LabError, match="there is no fault 'flood', only kill,pause,"):
        parse_faults("kill,flood")

"""What the nemesis does to a member, and that it makes it good again; the members are puppets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.lab.cluster import LabCluster, LabError, LabNode
from gateway.lab.fault_proxy import FaultProxy
from gateway.lab.faults import arena as arenas
from gateway.lab.faults.arena import Arena, Member
from gateway.lab.faults.history import Fault, Recorder, read
from gateway.lab.faults.nemesis import Nemesis, victims
from gateway.lab.faults.plan import POSTGRES, FaultKind, PlannedFault


class Puppet:
    """Takes every call that is made, and notes its name."""

    def __init__(self, name: str, refusals: int = 0) -> None:
        self.name = name
        self.calls: list[str] = []
        self.drops_notifications = False
        self._refusals = refusals

    def __getattr__(self, call: str) -> Any:
        return lambda: self.calls.append(call)

    async def start(self) -> None:
        self.calls.append("start")
        if self._refusals:
            self._refusals -= 1
            raise LabError("not yet")

    async def kill(self) -> None:
        self.calls.append("kill")

    async def stop_postgres(self) -> None:
        self.calls.append("stop_postgres")

    async def start_postgres(self) -> None:
        self.calls.append("start_postgres")


class Stage:
    """An arena of puppets: one node with one link, one control plane, a database."""

    def __init__(self) -> None:
        self.node, self.link = Puppet("node-1"), Puppet("link")
        self.control_plane, self.cluster = Puppet("control-1"), Puppet("cluster")
        member = Member(cast("LabNode", self.node), [cast("FaultProxy", self.link)])
        other = Member(cast("LabNode", self.control_plane), [])
        self.arena = Arena(cast("LabCluster", self.cluster), [member], [other], [other])

    async def suffer(self, path: Path, *faults: PlannedFault, duration_s: float = 10) -> list[str]:
        """Have faults of one victim inflicted; return what was recorded."""
        with Recorder(path) as recorder:
            nemesis = Nemesis(self.arena, recorder, lambda _: None)
            await nemesis.run({faults[0].victim: faults}, duration_s)
        events = [event for event in read(path) if isinstance(event, Fault)]
        return [f"{event.kind} {event.on} {event.phase}" for event in events]


@pytest.mark.parametrize(
    ("kind", "victim", "puppet", "calls"),
    [
        (FaultKind.KILL, "node-1", "node", ["kill", "start"]),
        (FaultKind.PAUSE, "node-1", "node", ["pause", "resume"]),
        (FaultKind.CUT, "node-1", "link", ["cut", "heal"]),
        (FaultKind.STALL, "node-1", "link", ["stall", "heal"]),
        (FaultKind.RESET, "node-1", "link", ["reset"]),
        (FaultKind.DROP_NOTIFY, "node-1", "link", ["heal"]),
        (FaultKind.RESTART_POSTGRES, POSTGRES, "cluster", ["stop_postgres", "start_postgres"]),
        (FaultKind.KILL_CONTROL_PLANE, "control-1", "control_plane", ["kill", "start"]),
    ],
)
async def test_each_fault_is_done_and_undone(
    kind: FaultKind, victim: str, puppet: str, calls: list[str], tmp_path: Path
) -> None:
    stage = Stage()
    told = await stage.suffer(tmp_path / "h", PlannedFault(0.0, kind, victim, 0.0))
    assert getattr(stage, puppet).calls == calls
    assert told == [f"{kind} {victim} begins", f"{kind} {victim} is over"]


async def test_notifications_are_dropped_meanwhile(tmp_path: Path) -> None:
    stage = Stage()
    fault = PlannedFault(0.0, FaultKind.DROP_NOTIFY, "node-1", 0.2)
    suffering = asyncio.create_task(stage.suffer(tmp_path / "h", fault))
    while not stage.link.drops_notifications:  # noqa: ASYNC110 - a puppet sends no event
        await asyncio.sleep(0.001)
    await suffering
    assert stage.link.calls == ["heal"]


async def test_faults_of_one_victim_follow_one_another_and_late_ones_are_left_out(
    tmp_path: Path,
) -> None:
    told = await Stage().suffer(
        tmp_path / "h",
        PlannedFault(0.0, FaultKind.STALL, "node-1", 0.1),
        PlannedFault(0.05, FaultKind.CUT, "node-1", 0.0),
        PlannedFault(0.06, FaultKind.RESET, "node-1", 0.0),
        duration_s=0.09,
    )
    assert told == ["stall node-1 begins", "stall node-1 is over"]


async def test_a_node_that_does_not_start_at_once_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arenas, "RESTART_PAUSE_S", 0.0)
    puppet = Puppet("node-1", refusals=2)
    member = Member(cast("LabNode", puppet), [])
    await member.start()
    assert puppet.calls == ["start", "kill", "start", "kill", "start"]
    assert member.incarnation == 3


async def test_a_node_that_never_starts_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arenas, "RESTART_BOUND_S", -1.0)
    with pytest.raises(LabError, match="not yet"):
        await Member(cast("LabNode", Puppet("node-1", refusals=1)), []).start()


def test_only_those_suffer_who_can() -> None:
    suffering = victims(Stage().arena, list(FaultKind))
    assert suffering[FaultKind.KILL] == ["node-1"]
    assert suffering[FaultKind.PAUSE] == ["node-1", "control-1"]
    assert suffering[FaultKind.DROP_NOTIFY] == ["control-1"]
    assert suffering[FaultKind.KILL_CONTROL_PLANE] == ["control-1"]
    assert set(suffering) == set(FaultKind)

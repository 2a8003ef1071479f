"""Strategies are found by the name under which a package publishes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.settings import NodeSettings
from gateway.sync.notify import NotifyStrategy
from gateway.sync.poll import PollStrategy
from gateway.sync.registry import StrategyError, create_strategy

THIRD_PARTY = """
import asyncio

class Carrier:
    source = None
    promises_wake = False
    def __init__(self, settings): self.settings = settings
    async def run(self, wake): await asyncio.Event().wait()

class Unfinished:
    def __init__(self, settings): pass

class Picky:
    def __init__(self, settings): raise RuntimeError("needs a licence")
"""

ENTRY_POINTS = """
[gateway.sync_strategies]
carrier = third_party_sync:Carrier
unfinished = third_party_sync:Unfinished
picky = third_party_sync:Picky
absent = third_party_sync:Absent
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_party_sync.py").write_text(THIRD_PARTY)
    info = tmp_path / "third_party_sync-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party-sync\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "third_party_sync", raising=False)


def named(strategy: str) -> NodeSettings:
    return NodeSettings(strategy=strategy)


def test_ours_are_found() -> None:
    assert isinstance(create_strategy(named("poll")), PollStrategy)
    assert isinstance(create_strategy(named("notify")), NotifyStrategy)


def test_an_unknown_name_is_answered_with_those_that_are_there() -> None:
    with pytest.raises(StrategyError, match=r"no sync strategy 'pol': choose .*notify, poll"):
        create_strategy(named("pol"))


@pytest.mark.usefixtures("third_party")
def test_another_package_may_bring_its_own() -> None:
    settings = named("carrier")
    strategy = create_strategy(settings)
    assert strategy.settings is settings


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("unfinished", "no attribute 'run'"),
        ("picky", "needs a licence"),
        ("absent", "no attribute 'Absent'"),
    ],
)
def test_one_that_cannot_be_used_is_named_with_its_problem(name: str, problem: str) -> None:
    with pytest.raises(StrategyError, match=rf"'{name}' \(third_party_sync:.*{problem}"):
        create_strategy(named(name))

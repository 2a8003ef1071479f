"""The fuzzer's corpus holds, a few mutations of it too, and its oracles notice planted faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fuzz.__main__ import CORPUS, main
from fuzz.case import MARKER, Act, Deed, acts
from fuzz.mutation import mutated
from fuzz.oracles import problems
from fuzz.world import World
from gateway.proxy import http1
from gateway.proxy.downstream import DownstreamConnection
from gateway.proxy.exchange import Exchange
from gateway.proxy.tunnel import TunnelEnd
from gateway.proxy.upstream import UpstreamConnection

CASES = {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture
def world() -> Iterator[World]:
    """A world that a test may spoil."""
    world = World()
    yield world
    world.close()


@pytest.mark.parametrize("name", CASES)
def test_the_corpus_holds(shared_world: World, name: str):
    assert problems(shared_world.play(CASES[name])) == []


def test_a_thousand_mutations_hold(shared_world: World):
    chance, cases = Random(1), list(CASES.values())
    for _ in range(1000):
        case = mutated(chance.choice(cases), cases, chance)
        assert problems(shared_world.play(case)) == [], case


def test_a_case_names_deeds_and_words():
    assert list(acts(MARKER.join((b"GET", b"uHTTP", b"?", b"C")))) == [
        Act(Deed.CLIENT_SAYS, b"GET"),
        Act(Deed.UPSTREAM_SAYS, b"HTTP"),
        Act(Deed.CLIENT_ENDS),
    ]


def test_a_case_may_have_words_said_in_pieces():
    said = [act.words for act in acts(MARKER.join((b"", b"p1", b"c" + b"word" * 100)))]
    assert b"".join(said) == b"word" * 100
    assert len(said) > 10


# -- faults that have to be noticed


def drop_a_byte(send: Any) -> Any:
    return lambda self, data, **framed: send(self, data[:-1] + b"?", **framed)


def pass_a_cut_for_an_end(exchange: Exchange, _reason: str) -> None:
    exchange.upstream = None
    exchange.relay([], ended=True)


def end_twice(end: Any) -> Any:
    def twice(exchange: Exchange, *at: float) -> None:
        end(exchange, *at)
        end(exchange, *at)

    return twice


FAULTS = [
    (UpstreamConnection, "send_body", drop_a_byte, "post-sized-streamed", "was sent as"),
    (Exchange, "on_response_cut", lambda _: pass_a_cut_for_an_end, "response-cut", "was relayed"),
    (Exchange, "_end", end_twice, "get", "ended 2 times"),
    (DownstreamConnection, "on_deadline", lambda _: lambda _: None, "client-dawdles", "not over"),
    (TunnelEnd, "data_received", drop_a_byte, "upgrade", "left the tunnel"),
    (DownstreamConnection, "data_received", lambda _: lambda _, __: 1 / 0, "get", "ZeroDivision"),
]


@pytest.mark.parametrize(("owner", "name", "fault", "case", "told"), FAULTS)
def test_a_fault_is_noticed(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    fault: Any,
    case: str,
    told: str,
):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fault(getattr(owner, name)))
        found = problems(world.play(CASES[case]))
    assert any(told in problem for problem in found), found


def test_a_request_that_h11_reads_otherwise_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """As by a proxy that believes Content-Length where there is a Transfer-Encoding as well."""
    monkeypatch.setattr(http1, "_request_body_length", lambda *_: 5)
    found = problems(world.play(CASES["refused-smuggling"].replace(MARKER + b"u", b"")))
    assert found


# -- the command


def test_the_command_plays_cases(capsys: pytest.CaptureFixture[str]):
    assert main([str(CORPUS / "get"), str(CORPUS / "no-route")]) == 0
    told = capsys.readouterr().out
    assert "→ 200" in told
    assert "→ 404 503" in told
    assert told.count("all is well") == 2


def test_the_command_fuzzes_for_a_moment(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--blind", "--minutes", "0.005", "--output", str(tmp_path)]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_the_command_names_what_it_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Exchange, "_end", end_twice(Exchange._end))
    assert main(["--blind", "--output", str(tmp_path)]) == 1
    (finding,) = tmp_path.iterdir()
    told = capsys.readouterr().out
    assert "WRONG: exchange" in told
    assert str(finding) in told

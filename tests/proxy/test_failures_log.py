"""The failure log says each kind of failure at once, and then only now and then."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.proxy import failures
from gateway.proxy.failures import FailureLog


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock to be moved by hand."""
    clock = [100.0]
    monkeypatch.setattr(failures, "monotonic", lambda: clock[0])
    return clock


def test_a_flood_is_one_line_a_second_with_the_number_of_the_unsaid(now: list[float]) -> None:
    log = FailureLog()
    with capture_logs() as lines:
        for _ in range(5):
            log.note("no response", "timed out", "a:1")
        now[0] += 1.0
        log.note("no response", "timed out", "a:1")
    assert [said(line) for line in lines] == [("no response", "a:1", 0), ("no response", "a:1", 4)]


def test_other_kinds_and_other_peers_are_not_silenced(now: list[float]) -> None:
    log = FailureLog()
    with capture_logs() as lines:
        for event, peer in (("no response", "a:1"), ("no response", "b:1"), ("cut", "a:1")):
            log.note(event, "why", peer)
    assert len(lines) == 3


def test_what_is_remembered_of_peers_is_bounded(now: list[float]) -> None:
    log = FailureLog()
    with capture_logs() as lines:
        for number in range(3 * failures._PEERS_LIMIT):
            log.note("bad request", "why", str(number))
    assert len(lines) == 3 * failures._PEERS_LIMIT
    assert len(log._said) <= failures._PEERS_LIMIT


def said(line: Any) -> tuple[str, str, int]:
    return line["event"], line["peer"], line["unsaid"]

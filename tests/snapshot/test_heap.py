"""What is there for long is frozen in time, and never garbage with it."""

from __future__ import annotations

import pytest

from gateway.snapshot import heap
from gateway.snapshot.heap import RequestHeap, SnapshotHeap


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the garbage collector was told to do."""
    told: list[str] = []
    for action in ("collect", "freeze"):
        monkeypatch.setattr(heap.gc, action, lambda action=action: told.append(action))
    return told


def test_a_small_change_is_not_worth_a_collection(done: list[str]):
    kept = SnapshotHeap()
    for _ in range(100):
        kept.note_slice(10)
    kept.note_apply()
    assert done == []


def test_a_large_load_is_frozen_as_it_grows_and_when_it_is_finished(done: list[str]):
    kept = SnapshotHeap()
    for _ in range(102):
        kept.note_slice(10)
    kept.note_apply()
    kept.note_apply()
    assert done == ["freeze", "freeze", "collect", "freeze"]


def test_what_requests_leave_behind_is_frozen_some_hundreds_at_a_time(done: list[str]):
    kept = RequestHeap()
    for _ in range(399):
        kept.note_kept()
    assert done == []
    for _ in range(401):
        kept.note_kept()
    assert done == ["collect", "freeze"] * 2

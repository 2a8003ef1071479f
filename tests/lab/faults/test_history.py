"""A history is the same after it was saved and read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lab.faults.history import Fault, HistoryError, Recorder, parse, read, to_line

from .histories import Cluster


@settings(deadline=None)
@given(st.integers())
def test_what_is_saved_is_what_is_read(seed: int) -> None:
    history = [*Cluster(seed).history(), Fault(1.5, "kill", "node-1", "begins")]
    assert list(parse(map(to_line, history))) == history


def test_events_are_in_the_file_as_they_happened(tmp_path: Path) -> None:
    history = Cluster(1).history()
    with Recorder(tmp_path / "history.jsonl") as recorder:
        for event in history:
            recorder.record(event)
    assert list(read(tmp_path / "history.jsonl")) == history


def test_times_only_grow(tmp_path: Path) -> None:
    with Recorder(tmp_path / "history.jsonl") as recorder:
        times = [recorder.now() for _ in range(100)]
    assert times == sorted(times)
    assert times[0] >= 0


@pytest.mark.parametrize("line", [b"", b"{}", b'{"event": "probe"}', b"\xff", b'{"event": "war"}'])
def test_what_is_no_event_is_named_by_its_line(line: bytes) -> None:
    good = to_line(Cluster(1).history()[0])
    with pytest.raises(HistoryError, match="line 2 is no event of a history: "):
        list(parse([good, line]))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"nowhere\.jsonl: No such file"):
        list(read(tmp_path / "nowhere.jsonl"))

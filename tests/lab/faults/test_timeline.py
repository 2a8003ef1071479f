"""Versions worked out by spans are those that trying every single version gives."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lab.faults.history import Commit, Values
from gateway.lab.faults.timeline import FOREVER, Clock, Timeline

REGISTERS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from(["0", "1", None])
COMMITS = st.lists(st.builds(Commit, st.integers(1, 30), REGISTERS, VALUES)).map(
    lambda commits: sorted(commits, key=lambda commit: commit.version)
)
FIRST = [Commit(0, register, "0") for register in "abc"]


@settings(deadline=None)
@given(COMMITS, st.dictionaries(REGISTERS, VALUES, min_size=1))
def test_what_was_seen_stands_for_the_versions_that_had_it(
    commits: list[Commit], seen: Values
) -> None:
    spans = Timeline([*FIRST, *commits]).showing(seen)
    assert spans == sorted(spans)
    found = {version for begin, end in spans for version in range(begin, min(end, 40))}
    values: Values = {}
    expected = set()
    for version in range(40):
        values |= {c.register: c.value for c in [*FIRST, *commits] if c.version == version}
        if seen.items() <= values.items():
            expected.add(version)
    assert found == expected
    assert Timeline([*FIRST, *commits]).last == values


def test_a_version_has_what_it_wrote_and_what_was_there_before() -> None:
    timeline = Timeline([*FIRST, Commit(1, "a", "1"), Commit(2, "b", "1"), Commit(3, "a", "2")])
    assert [version for version in range(5) if timeline.had(version, "a", "1")] == [1, 2]
    assert [version for version in range(5) if timeline.had(version, "c", "0")] == [0, 1, 2, 3, 4]


def test_what_was_never_written_stands_for_no_version() -> None:
    timeline = Timeline(FIRST)
    assert timeline.spans("a", "17") == []
    assert timeline.spans("d", "0") == []
    assert timeline.showing({"a": "17"}) == []
    assert timeline.showing({"a": "0"}) == [(0, FOREVER)]


def test_a_version_is_there_from_between_its_sending_and_its_acknowledgement() -> None:
    clock = Clock([(5, 10.0, 20.0)])
    assert [clock.newest_possible(at) for at in (9, 10, 20)] == [4, FOREVER, FOREVER]
    assert [clock.newest_certain(at) for at in (9, 19, 20)] == [0, 0, 5]
    assert [clock.committed_by(version) for version in (1, 5, 6)] == [20.0, 20.0, None]


def test_versions_lie_between_those_that_others_acknowledge() -> None:
    # The first was acknowledged last: yet when the second was there, it was there too.
    clock = Clock([(1, 10.0, 90.0), (2, 5.0, 30.0), (3, 40.0, 50.0)])
    assert clock.committed_by(1) == 30.0
    assert [clock.newest_possible(at) for at in (9, 10, 39, 40)] == [0, 2, 2, FOREVER]
    assert [clock.newest_certain(at) for at in (29, 30, 50)] == [0, 2, 3]


def test_without_acknowledged_writes_nothing_is_known() -> None:
    clock = Clock([])
    assert clock.newest_possible(1.0) == FOREVER
    assert clock.newest_certain(1.0) == 0
    assert clock.committed_by(1) is None

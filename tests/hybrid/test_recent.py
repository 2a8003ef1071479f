"""The last change sets: found from any version they reach back to, bounded in number and bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from gateway.hybrid.recent import ChangeSet, RecentChanges
from gateway.hybrid.transfer import ClockReading
from gateway.store.source import VersionMark

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def mark(version: int) -> VersionMark:
    return VersionMark(UUID(int=1), version, BEGAN + timedelta(seconds=version))


def change_set(since: int, to: int, size: int = 1) -> ChangeSet:
    committed_at = mark(since + 1).committed_at
    clock = ClockReading(committed_at, 0.0)
    return ChangeSet(mark(since), mark(to), committed_at, clock, (b"x" * size,))


def recent(*steps: tuple[int, int], **limits: int) -> RecentChanges:
    changes = RecentChanges(**limits)
    for since, to in steps:
        changes.add(change_set(since, to))
    return changes


def path(changes: RecentChanges, since: int, to: int) -> list[tuple[int, int]] | None:
    found = changes.path(mark(since), mark(to))
    return None if found is None else [(step.since.version, step.to.version) for step in found]


STEPS = ((0, 1), (1, 2), (2, 7), (7, 8))


@pytest.mark.parametrize(
    ("since", "found"),
    [
        (8, []),
        (7, [(7, 8)]),
        (2, [(2, 7), (7, 8)]),
        (0, [(0, 1), (1, 2), (2, 7), (7, 8)]),
        (3, None),  # applied together with others: nobody knows what was before
        (9, None),
    ],
)
def test_a_path_leads_from_a_version_to_the_newest(
    since: int, found: list[tuple[int, int]] | None
) -> None:
    assert path(recent(*STEPS), since, 8) == found


def test_a_version_of_another_history_has_no_path() -> None:
    changes = recent(*STEPS)
    elsewhere = VersionMark(UUID(int=1), 7, BEGAN)
    assert changes.path(elsewhere, mark(8)) is None


def test_the_oldest_are_dropped_by_number() -> None:
    changes = recent(*STEPS, most_change_sets=2)
    assert path(changes, 2, 8) == [(2, 7), (7, 8)]
    assert path(changes, 1, 8) is None


def test_the_oldest_are_dropped_by_bytes() -> None:
    changes = RecentChanges(most_bytes=100)
    for since in range(4):
        changes.add(change_set(since, since + 1, size=40))
    assert path(changes, 2, 4) == [(2, 3), (3, 4)]
    assert path(changes, 1, 4) is None


def test_one_that_is_too_large_is_not_kept_nor_what_came_before() -> None:
    changes = RecentChanges(most_bytes=100)
    changes.add(change_set(0, 1))
    changes.add(change_set(1, 2, size=101))
    assert path(changes, 0, 2) is None
    assert path(changes, 1, 2) is None
    changes.add(change_set(2, 3))
    assert path(changes, 2, 3) == [(2, 3)]


def test_nothing_is_found_after_a_break() -> None:
    changes = recent(*STEPS)
    changes.clear()
    assert path(changes, 7, 8) is None

"""The last change sets as messages: what almost every data plane asks for, kept in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.hybrid.transfer import ClockReading
from gateway.store.source import VersionMark

MOST_CHANGE_SETS = 256
MOST_BYTES = 8_388_608
"""Kept in all. What is older is read from the database when somebody asks for it."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What leads from one version to a later one."""

    since: VersionMark
    to: VersionMark
    oldest_committed_at: datetime
    clock: ClockReading
    messages: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes of its messages."""
        return sum(map(len, self.messages))


class RecentChanges:
    """Change sets that follow each other, the oldest dropped first."""

    def __init__(
        self, most_change_sets: int = MOST_CHANGE_SETS, most_bytes: int = MOST_BYTES
    ) -> None:
        self._most_change_sets = most_change_sets
        self._most_bytes = most_bytes
        self._by_since: dict[VersionMark, ChangeSet] = {}
        self._bytes = 0

    def add(self, changes: ChangeSet) -> None:
        """Keep a change set that begins where the last one ended."""
        self._by_since[changes.since] = changes
        self._bytes += changes.size
        while self._bytes > self._most_bytes or len(self._by_since) > self._most_change_sets:
            oldest = next(iter(self._by_since))
            self._bytes -= self._by_since.pop(oldest).size

    def clear(self) -> None:
        """Forget all: what comes next does not follow from them."""
        self._by_since.clear()
        self._bytes = 0

    def path(self, since: VersionMark, to: VersionMark) -> list[ChangeSet] | None:
        """Return the change sets that lead from one version to another, None if not all are here.

        Applied one after the other they come to the same as a single one: each has the rows as
        they were at its end.
        """
        path: list[ChangeSet] = []
        while since != to:
            step = self._by_since.get(since)
            if step is None:
                return None
            path.append(step)
            since = step.to
        return path

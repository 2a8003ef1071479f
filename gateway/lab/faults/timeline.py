"""Which versions had which values, and which of them a client may have met at a given moment.

Versions are totally ordered, and each change of a register belongs to one. So a value stands for
the versions from the one that wrote it to the one that wrote the next, and what a request showed of
several registers stands for the versions which had all of that at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from gateway.lab.faults.history import Commit, Register, Value, Values

FOREVER = 2**63
Span = tuple[int, int]
"""Versions from the first up to, but without, the second."""


class Timeline:
    """The values of all registers over all versions, from commits in the order of versions."""

    def __init__(self, commits: Iterable[Commit]) -> None:
        self._spans: dict[Register, dict[Value, list[Span]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self.last: Values = {}
        began: dict[Register, int] = {}
        for commit in commits:
            register, version = commit.register, commit.version
            if register in began:
                self._end(register, began[register], version)
            self.last[register] = commit.value
            began[register] = version
        for register, version in began.items():
            self._end(register, version, FOREVER)

    def spans(self, register: Register, value: Value) -> list[Span]:
        """Return the versions in which a register had a value, ascending."""
        return self._spans.get(register, {}).get(value, [])

    def had(self, version: int, register: Register, value: Value) -> bool:
        """Return whether a register had a value in a version."""
        return any(begin <= version < end for begin, end in self.spans(register, value))

    def showing(self, seen: Mapping[Register, Value]) -> list[Span]:
        """Return the versions that had all these values, ascending."""
        spans: list[Span] = [(0, FOREVER)]
        for register, value in seen.items():
            spans = list(_common(spans, self.spans(register, value)))
        return spans

    def _end(self, register: Register, begin: int, end: int) -> None:
        if begin < end:  # a transaction may write a register twice
            self._spans[register][self.last[register]].append((begin, end))


def _common(some: list[Span], others: list[Span]) -> Iterator[Span]:
    """Yield what two ascending lists of spans have in common, ascending."""
    i = j = 0
    while i < len(some) and j < len(others):
        begin = max(some[i][0], others[j][0])
        end = min(some[i][1], others[j][1])
        if begin < end:
            yield begin, end
        if some[i][1] < others[j][1]:
            i += 1
        else:
            j += 1


class Clock:
    """When versions came to be, as far as their writers know.

    A version was committed after its write was sent and before it was acknowledged, later than all
    versions before it and earlier than all after it.
    """

    def __init__(self, writes: Iterable[tuple[int, float, float]]) -> None:
        """Take (version, sent at, acknowledged at) of acknowledged writes that made a version."""
        self._versions: list[int] = []
        self._earliest: list[float] = []
        for version, sent_at, _ in (ordered := sorted(writes)):
            self._versions.append(version)
            self._earliest.append(max(sent_at, self._earliest[-1] if self._earliest else 0.0))
        self._latest = [acknowledged_at for *_, acknowledged_at in ordered]
        for i in reversed(range(len(self._latest) - 1)):
            self._latest[i] = min(self._latest[i], self._latest[i + 1])

    def newest_possible(self, at: float) -> int:
        """Return the newest version that may have been committed at this moment."""
        begun = bisect_right(self._earliest, at)
        return self._versions[begun] - 1 if begun < len(self._versions) else FOREVER

    def newest_certain(self, at: float) -> int:
        """Return the newest version that, at this moment, was committed for certain; 0 if none."""
        done = bisect_right(self._latest, at)
        return self._versions[done - 1] if done else 0

    def committed_by(self, version: int) -> float | None:
        """Return when this version, or a later one, was acknowledged at the latest; None: never."""
        i = bisect_left(self._versions, version)
        return self._latest[i] if i < len(self._latest) else None

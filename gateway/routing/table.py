"""The entries of one host, found by what a path starts with. Immutable, sharing structure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter

from immutables import Map

from gateway.routing.paths import common_start
from gateway.routing.rules import Entry

by_rank = attrgetter("rank")

Slots = Map[bytes, tuple[Entry, ...]]
Levels = tuple[tuple[int, Slots], ...]
Branches = Map[bytes, "PathTable"]
Additions = Mapping[bytes, Sequence[Entry]]

_NONE: Branches = Map()
_FLAT_LIMIT = 32
_SPLIT_BYTES = 8


class PathTable:
    """Entries by text, grouped by the text's length: one look-up per length that occurs.

    Entries without a path have the empty text; those with a regex have its literal prefix.

    A table of more than a few texts keeps only those shorter than ``split``, and one table for
    each start of that length. So a path meets the lengths that occur among its like, not all.
    """

    __slots__ = ("_branches", "_levels", "_split")

    def __init__(self, levels: Levels = (), split: int = 0, branches: Branches = _NONE) -> None:
        self._levels = levels
        self._split = split
        self._branches = branches

    def __bool__(self) -> bool:
        return bool(self._levels or self._branches)

    def collect(self, path: bytes, found: list[tuple[Entry, ...]]) -> None:
        """Append to ``found`` the entries of each text that ``path`` starts with, by rank."""
        size = len(path)
        table: PathTable | None = self
        while table is not None:
            for length, slots in table._levels:
                if length > size:
                    return
                entries = slots.get(path[:length])
                if entries is not None:
                    found.append(entries)
            split = table._split
            if not split or split > size:
                return
            table = table._branches.get(path[:split])

    def with_changes(self, additions: Additions, gone: AbstractSet[Entry]) -> PathTable:
        """Return the table with ``additions`` by text and without the entries ``gone``.

        Only the texts that are keys of ``additions`` are looked at, so each entry gone needs its
        text there, with or without anything to add.
        """
        if not self._split:
            levels = _with_changes(self._levels, additions, gone)
            size = sum(len(slots) for _, slots in levels)
            return _branched(levels) if size > _FLAT_LIMIT else PathTable(levels)
        near = {text: added for text, added in additions.items() if len(text) < self._split}
        branches = self._branches.mutate()
        for start, texts in _by_start(additions, self._split).items():
            branch = branches.get(start, PathTable()).with_changes(texts, gone)
            if branch:
                branches[start] = branch
            else:
                branches.pop(start, None)
        levels = _with_changes(self._levels, near, gone)
        return PathTable(levels, self._split, branches.finish())


def _with_changes(levels: Levels, additions: Additions, gone: AbstractSet[Entry]) -> Levels:
    changed = dict(levels)
    for length, texts in _by_length(additions).items():
        slots = changed.get(length, Map()).mutate()
        for text in texts:
            kept = [e for e in (*slots.get(text, ()), *additions[text]) if e not in gone]
            if kept:
                slots[text] = tuple(sorted(kept, key=by_rank))
            else:
                slots.pop(text, None)
        changed[length] = slots.finish()
    return tuple((length, changed[length]) for length in sorted(changed) if changed[length])


def _branched(levels: Levels) -> PathTable:
    """Split a flat table a few bytes behind what all its texts have in common."""
    entries = {text: found for _, slots in levels for text, found in slots.items()}
    split = len(common_start(min(entries), max(entries))) + _SPLIT_BYTES
    return PathTable(split=split).with_changes(entries, frozenset())


def _by_length(additions: Additions) -> dict[int, list[bytes]]:
    grouped: dict[int, list[bytes]] = defaultdict(list)
    for text in additions:
        grouped[len(text)].append(text)
    return grouped


def _by_start(additions: Additions, length: int) -> dict[bytes, dict[bytes, Sequence[Entry]]]:
    """Group the additions under texts of at least ``length`` bytes by their first bytes."""
    grouped: dict[bytes, dict[bytes, Sequence[Entry]]] = defaultdict(dict)
    for text, added in additions.items():
        if len(text) >= length:
            grouped[text[:length]][text] = added
    return grouped

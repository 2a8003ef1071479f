"""The entries of one host, found by what a path starts with. Immutable, sharing structure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from operator import attrgetter
from typing import Any

from immutables import Map

from gateway.routing.paths import common_start
from gateway.routing.rules import Entry

by_rank = attrgetter("rank")

Slots = Map[bytes, tuple[Entry, ...]]
Levels = tuple[tuple[int, Slots], ...]
Branches = Map[bytes, "PathTable"]
Additions = Mapping[bytes, Sequence[Entry]]
Serves = Callable[[Any], bool]
"""Tells of a route's payload whether the route may be chosen."""

_NONE: Branches = Map()
_FEW = 4
_FLAT_LIMIT = 32
_SPLIT_BYTES = 8


class PathTable:
    """Entries by text, grouped by the text's length: one look-up per length that occurs.

    Entries without a path have the empty text; those with a regex have its literal prefix.

    A table of no more than a few entries is just these, since most hosts have no more. One of more
    than a few texts keeps only those shorter than ``split``, and one table for each start of that
    length. So a path meets the lengths that occur among its like, not all.
    """

    __slots__ = ("_branches", "_few", "_levels", "_split")

    def __init__(
        self,
        few: tuple[Entry, ...] = (),
        levels: Levels = (),
        split: int = 0,
        branches: Branches = _NONE,
    ) -> None:
        self._few = few
        self._levels = levels
        self._split = split
        self._branches = branches

    def __bool__(self) -> bool:
        return bool(self._few or self._levels or self._branches)

    def collect(self, path: bytes, found: list[tuple[Entry, ...]]) -> None:
        """Append to ``found`` entries whose text ``path`` starts with, in groups sorted by rank."""
        size = len(path)
        table: PathTable | None = self
        while table is not None:
            few = table._few
            if few:
                if len(few) > 1:
                    few = tuple([entry for entry in few if path.startswith(entry.text)])
                    if few:
                        found.append(few)
                elif path.startswith(few[0].text):
                    found.append(few)
                return
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

    def first(self, path: bytes, serves: Serves | None) -> Entry | None:
        """Return the first entry that takes a request to ``path``; all entries must be simple."""
        few = self._few
        if few:
            for entry in few:
                if path.startswith(entry.text) and (serves is None or serves(entry.payload)):
                    return entry
            return None
        size, split = len(path), self._split
        if split and split <= size:
            branch = self._branches.get(path[:split])
            found = None if branch is None else branch.first(path, serves)
            if found is not None:
                return found
        for length, slots in reversed(self._levels):
            if length <= size:
                for entry in slots.get(path[:length], ()):
                    if serves is None or serves(entry.payload):
                        return entry
        return None

    def with_changes(self, additions: Additions, gone: AbstractSet[Entry]) -> PathTable:
        """Return the table with ``additions`` by text and without the entries ``gone``.

        Only the texts that are keys of ``additions`` are looked at, so each entry gone needs its
        text there, with or without anything to add.
        """
        if not self._split:
            return self._flat_with_changes(additions, gone)
        near = {text: added for text, added in additions.items() if len(text) < self._split}
        branches = self._branches.mutate()
        for start, texts in _by_start(additions, self._split).items():
            branch = branches.get(start, PathTable()).with_changes(texts, gone)
            if branch:
                branches[start] = branch
            else:
                branches.pop(start, None)
        levels = _with_changes(self._levels, near, gone)
        return PathTable((), levels, self._split, branches.finish())

    def _flat_with_changes(self, additions: Additions, gone: AbstractSet[Entry]) -> PathTable:
        if not self._levels:
            entries = [e for e in chain(self._few, *additions.values()) if e not in gone]
            if len(entries) <= _FEW:
                return PathTable(tuple(sorted(entries, key=by_rank)))
            levels = _with_changes((), _by_text(entries), gone)
        else:
            levels = _with_changes(self._levels, additions, gone)
        size = sum(len(slots) for _, slots in levels)
        return _branched(levels) if size > _FLAT_LIMIT else PathTable((), levels)


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
    return PathTable((), (), split).with_changes(entries, frozenset())


def _by_text(entries: Iterable[Entry]) -> dict[bytes, list[Entry]]:
    grouped: dict[bytes, list[Entry]] = defaultdict(list)
    for entry in entries:
        grouped[entry.text].append(entry)
    return grouped


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

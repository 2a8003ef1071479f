"""The table of one host finds exactly the texts that a path starts with, however it grew."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing import compile_rule
from gateway.routing.rules import Entry
from gateway.routing.table import PathTable

from .making import rule

texts = st.text("ab/", max_size=20).map(lambda text: b"/" + text.encode())
text_sets = st.lists(texts, max_size=50, unique=True)
large_text_sets = st.lists(texts, min_size=50, max_size=150, unique=True)


def entry(text: bytes, number: int = 0) -> Entry:
    made = rule(text.decode(), paths=[text.decode()], rule_id=UUID(int=number))
    [(_, entries)] = compile_rule(made, compatible=False).placements
    return entries[0]


def found_texts(table: PathTable, path: bytes) -> list[bytes]:
    """The texts that were found, the shortest first: the groups themselves are in any order."""
    found: list[tuple[Entry, ...]] = []
    table.collect(path, found)
    return sorted((entry.text for entries in found for entry in entries), key=len)


def first_text(table: PathTable, path: bytes) -> bytes | None:
    first = table.first(path, None)
    return None if first is None else first.text


@settings(max_examples=40, deadline=None)
@given(large_text_sets, st.lists(texts, min_size=1, max_size=20), st.data())
def test_a_path_meets_the_texts_it_starts_with(
    stored: list[bytes], asked: list[bytes], data: st.DataObject
) -> None:
    table = PathTable()
    entries = {text: entry(text) for text in stored}
    for start in range(0, len(stored), 40):
        chunk = stored[start : start + 40]
        table = table.with_changes({text: [entries[text]] for text in chunk}, set())
    gone = data.draw(st.sets(st.sampled_from(stored)))
    smaller = table.with_changes(dict.fromkeys(gone, ()), {entries[text] for text in gone})
    for path in (*asked, *stored[:20]):
        starts = sorted((text for text in stored if path.startswith(text)), key=len)
        assert found_texts(table, path) == starts
        left = [text for text in starts if text not in gone]
        assert found_texts(smaller, path) == left
        assert first_text(table, path) == (starts[-1] if starts else None)
        assert first_text(smaller, path) == (left[-1] if left else None)


@settings(max_examples=40, deadline=None)
@given(text_sets | large_text_sets)
def test_a_table_whose_entries_are_all_gone_is_empty(stored: list[bytes]) -> None:
    entries = {text: [entry(text)] for text in stored}
    full = PathTable().with_changes(entries, set())
    assert bool(full) is bool(stored)
    assert not full.with_changes(dict.fromkeys(stored, ()), {e for [e] in entries.values()})


def test_entries_of_one_text_are_kept_by_rank() -> None:
    young, old = entry(b"/a", 2), entry(b"/a", 1)
    table = PathTable().with_changes({b"/a": [young]}, set()).with_changes({b"/a": [old]}, set())
    found: list[tuple[Entry, ...]] = []
    table.collect(b"/a", found)
    assert found == [(old, young)]


def test_the_first_entry_that_is_served_is_the_first() -> None:
    long, short = entry(b"/a/b"), entry(b"/a")
    table = PathTable().with_changes({b"/a/b": [long], b"/a": [short]}, set())
    assert table.first(b"/a/b/c", lambda payload: payload == "/a") is short
    assert table.first(b"/a/b/c", lambda payload: payload == "/b") is None

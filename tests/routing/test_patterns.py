"""Regex paths: anchoring, captures, byte semantics, and the prefix they are found by."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.patterns import PathRegex

from .making import chosen, router, rule


@pytest.mark.parametrize(
    ("path_regex", "path", "matched"),
    [
        ("~/a(b|c)", b"/abz", b"/ab"),
        ("~/a(b|c)", b"/x/ab", None),
        ("~/A", b"/a", None),
        (r"~/v\d+$", b"/v12", b"/v12"),
        (r"~/v\d+$", b"/v12/x", None),
        ("~/a|/b", b"/bc", b"/b"),
        ("~/中", "/中/x".encode(), "/中".encode()),
        ("~/.", b"/\xff\xfe", b"/\xff"),
        ("~/a b", b"/a b", b"/a b"),
        ("~^/a", b"/ab", b"/a"),
        ("~(?i)/abc", b"/ABCd", b"/ABC"),
        ("~.*/z$", b"/x/y/z", b"/x/y/z"),
    ],
)
def test_a_regex_is_anchored_at_the_start_and_sees_bytes(
    path_regex: str, path: bytes, matched: bytes | None
) -> None:
    candidate = chosen(router(rule("A", paths=[path_regex])), path)
    assert (candidate.matched if candidate else None) == matched


def test_captures_are_numbered_and_named_with_the_whole_path_first() -> None:
    one = router(rule("A", paths=[r"~/(?<kind>\w+)/(?P<id>\d+)(\.json)?"]))
    candidate = chosen(one, b"/orders/42/items")
    assert candidate is not None
    assert candidate.matched == b"/orders/42"
    assert candidate.captures is not None
    assert candidate.captures.numbered == (b"/orders/42/items", b"orders", b"42", None)
    assert candidate.captures.named == {"kind": b"orders", "id": b"42"}


@pytest.mark.parametrize("path", [r"~/orders/\d+", "/orders/42"])
def test_without_groups_there_are_no_captures(path: str) -> None:
    candidate = chosen(router(rule("A", paths=[path])), b"/orders/42")
    assert candidate is not None
    assert candidate.captures is None


def test_a_regex_that_would_backtrack_for_ever_answers_at_once() -> None:
    assert PathRegex("/(a+)+$").match(b"/" + b"a" * 5000 + b"!") is None


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        (r"/orders/\d+", b"/orders/"),
        (r"^/orders/(?<id>\d+)$", b"/orders/"),
        (r"/a\.b$", b"/a.b"),
        (r"/(a|b)", b"/"),
        (r"/ab?c", b"/a"),
        (r"/a|/b", b"/"),
        (r".*", b""),
        (r"(?i)/a", b"/"),
    ],
)
def test_a_regex_is_found_by_the_literal_text_it_starts_with(text: str, prefix: bytes) -> None:
    assert PathRegex(text).literal_prefix == prefix


pieces = st.sampled_from(
    ["/", "a", "b", "ab", r"\.", ".", "[ab]", "(a|b/)", "(?:ab)", "^", "$", r"\d", "(?i)", "(?i:a)"]
)
quantifiers = st.sampled_from(["", "", "", "?", "*", "+", "{0,2}", "{2}", "*?"])
regexes = st.lists(st.tuples(pieces, quantifiers), min_size=1, max_size=5).map(
    lambda parts: "".join(
        piece + ("" if piece in {"^", "$", "(?i)"} else quantifier) for piece, quantifier in parts
    )
)


@given(st.lists(regexes, min_size=1, max_size=3).map("|".join), st.text("/abAB.0", max_size=8))
def test_every_path_a_regex_matches_starts_with_its_literal_prefix(text: str, path: str) -> None:
    raw = path.encode()
    regex = PathRegex(text)
    if regex.match(raw) is not None:
        assert raw.startswith(regex.literal_prefix)


@given(regexes.filter(lambda text: "(?i)" not in text), st.text("/ab.0", max_size=8))
def test_a_regex_matches_the_text_that_a_backtracking_engine_matches(text: str, path: str) -> None:
    raw = path.encode()
    expected = re.compile(text.replace("$", r"\Z").encode()).match(raw)
    found = PathRegex(text).match(raw)
    assert (found and found.text) == (expected and expected[0])

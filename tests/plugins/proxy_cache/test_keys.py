"""Keys: Kong's, and never the same for two requests that differ."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.proxy_cache.keys import NOTHING_FURTHER, Further, KeyRules, headers_part

CONSUMER, ROUTE = UUID(int=1), UUID(int=2)
ALL = KeyRules(ignores_case=False, arguments=frozenset())


def key(
    rules: KeyRules = ALL,
    owner: tuple[int, int] = (0, ROUTE.int),
    line: tuple[bytes, bytes, bytes, bytes] = (b"GET", b"/a", b"", b"HTTP/1.1"),
    headers: str = "",
    further: Further = NOTHING_FURTHER,
) -> bytes:
    return rules.key(owner, line, headers, further)


def digest(text: str) -> bytes:
    return sha256(text.encode()).hexdigest().encode()


def asking(query: bytes, path: bytes = b"/a") -> tuple[bytes, bytes, bytes, bytes]:
    return b"GET", path, query, b"HTTP/1.1"


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({}, f"{ROUTE}|GET|GET /a HTTP/1.1||"),
        ({"owner": (0, 0)}, "default|GET|GET /a HTTP/1.1||"),
        ({"owner": (1, 2)}, f"{CONSUMER}:{ROUTE}|GET|GET /a HTTP/1.1||"),
        ({"line": asking(b"?")}, f"{ROUTE}|GET|GET /a HTTP/1.1||"),
        ({"line": asking(b"?b=2&a=1")}, f"{ROUTE}|GET|GET /a HTTP/1.1|a=1:b=2|"),
        ({"line": asking(b"?a=2&a=1&b")}, f"{ROUTE}|GET|GET /a HTTP/1.1|a=2,1:b=|"),
        ({"line": asking(b"?a=x%20/y")}, f"{ROUTE}|GET|GET /a HTTP/1.1|a=x /y|"),
        ({"headers": "accept=a"}, f"{ROUTE}|GET|GET /a HTTP/1.1||accept=a"),
        (
            {"rules": KeyRules(True, frozenset()), "line": asking(b"?A=B", b"/Ab")},
            f"{ROUTE}|GET|get /ab http/1.1|A=B|",
        ),
        (
            {"rules": KeyRules(False, frozenset({"a", "c"})), "line": asking(b"?b=2&a=1")},
            f"{ROUTE}|GET|GET /a HTTP/1.1|a=1|",
        ),
    ],
)
def test_what_a_key_is_made_of(given_: dict[str, Any], expected: str):
    assert key(**given_) == digest(expected)


@pytest.mark.parametrize(
    ("query", "other"),
    [
        (b"?a=1&b=2", b"?a=1:b%3D2"),
        (b"?a=1,2", b"?a=1&a=2"),
        (b"?a=1&a=2", b"?a=2&a=1"),
        (b"?a%3D1=2", b"?a=1%3D2"),
        (b"?a=%7C", b"?a=%257C"),
        (b"?a=%C3%A9", b"?a=%E9"),
    ],
)
def test_what_differs_has_another_key(query: bytes, other: bytes):
    assert key(line=asking(query)) != key(line=asking(other))


def test_what_kong_leaves_out_tells_apart_as_well():
    keys = {
        key(further=it)
        for it in (
            NOTHING_FURTHER,
            Further(authorization=b"a"),
            Further(body=b"a"),
            Further(host=b"a"),
            Further(path=b"a"),
            Further(query=b"a"),
        )
    }
    assert len(keys) == 6


def test_headers():
    assert headers_part([]) == ""
    assert headers_part([("a", []), ("b", ["1", "2"]), ("c", ["x:y"])]) == "b=1,2:c=x%3Ay"


PAIRS = st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=4)


def grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


@given(PAIRS, PAIRS)
def test_arguments_have_the_same_key_only_if_they_are_the_same(
    some: list[tuple[str, str]], others: list[tuple[str, str]]
):
    one, other = (key(line=asking(b"?" + urlencode(it).encode())) for it in (some, others))
    assert (one == other) is (grouped(some) == grouped(others))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_bytes_are_too_strange(path: bytes, query: bytes):
    assert len(key(line=asking(b"?" + query, path))) == 64

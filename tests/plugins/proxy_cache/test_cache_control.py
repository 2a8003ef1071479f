"""What `Cache-Control`, `Expires` and `Age` say, whatever stands there."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.proxy_cache.cache_control import (
    directives_of,
    forbids_storing,
    is_for_all,
    lifetime_s,
    may_be_stale,
    seconds,
)

MADE_AT = 1_000_000_000.0
DATE = b"\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT"
IN_A_MINUTE = b"\r\nExpires: Sun, 09 Sep 2001 01:47:40 GMT"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"", {}),
        (b"\r\nCache-Control:", {}),
        (b"\r\ncache-control: No-Store", {"no-store": ""}),
        (b"\r\nCache-Control: max-age=5, public", {"max-age": "5", "public": ""}),
        (
            b"\r\nCache-Control: max-age=5\r\nX: y\r\nCache-Control: private",
            {"max-age": "5", "private": ""},
        ),
        (b'\r\nCache-Control: max-age="5"', {"max-age": "5"}),
        (b"\r\nCache-Control: max-age = 5 ,, x", {"max-age": "5", "x": ""}),
        (b'\r\nCache-Control: private="a, no-store", b', {"private": "a, no-store", "b": ""}),
        (b"\r\nCache-Control: max-age=1, max-age=9", {"max-age": "1"}),
        (b'\r\nCache-Control: x="open, y', {"x": "open, y"}),
        (b"\r\nX-Cache-Control: no-store", {}),
    ],
)
def test_directives(lines: bytes, expected: dict[str, str]):
    assert directives_of(lines) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("60", 60),
        ("", 0),
        ("-1", 0),
        ("1.5", 0),
        ("x", 0),
        ("٣", 0),
        ("²", 0),
        ("4294967296", 2**31),
        ("9" * 5000, 2**31),
    ],
)
def test_numbers_of_seconds(text: str, expected: int):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"", 0),
        (b"\r\nCache-Control: public", 0),
        (b"\r\nCache-Control: max-age=60", 60),
        (b"\r\nCache-Control: max-age=60, s-maxage=5", 5),
        (b"\r\nCache-Control: s-maxage=soon, max-age=60", 0),
        (b"\r\nCache-Control: max-age=7" + DATE + IN_A_MINUTE, 7),
        (DATE + IN_A_MINUTE, 60),
        (b"\r\nDate: yesterday" + IN_A_MINUTE, 60),
        (IN_A_MINUTE, 60),
        (DATE + b"\r\nExpires: 0", 0),
        (DATE + b"\r\nExpires: Sun, 09 Sep 2001 01:45:40 GMT", -60),
        (DATE + b"\r\nExpires: Sun, 99 Sep 99999 01:45:40 GMT", 0),
        (DATE + b"\r\nExpires:", 0),
    ],
)
def test_how_long_a_response_is_fresh(lines: bytes, expected: float):
    assert lifetime_s(directives_of(lines), lines, MADE_AT) == expected


@pytest.mark.parametrize(
    ("said", "forbidden", "for_all", "stale"),
    [
        (b"max-age=1", False, False, True),
        (b"private", True, False, True),
        (b'private="x"', True, False, True),
        (b"no-store", True, False, True),
        (b"no-cache", True, False, True),
        (b"public", False, True, True),
        (b"must-revalidate", False, True, False),
        (b"proxy-revalidate", False, False, False),
        (b"s-maxage=3", False, True, False),
    ],
)
def test_what_directives_mean(said: bytes, forbidden: bool, for_all: bool, stale: bool):
    directives = directives_of(b"\r\nCache-Control: " + said)
    assert forbids_storing(directives) is forbidden
    assert is_for_all(directives) is for_all
    assert may_be_stale(directives) is stale


@given(st.lists(st.tuples(st.sampled_from(["Cache-Control", "Expires", "Date"]), st.text())))
def test_nothing_raises(headers: list[tuple[str, Any]]):
    lines = b"".join(
        f"\r\n{name}: {value}".encode("latin-1", "replace").replace(b"\n", b"").replace(b"\r", b"")
        for name, value in headers
    )
    assert isinstance(lifetime_s(directives_of(lines), lines, time.time()), int | float)


@pytest.mark.parametrize("piece", [b",", b" ", b"=", b'"', b"a ", b'a="', b"a= ", b"a,", b"\\"])
def test_long_garbage_is_read_in_one_go(piece: bytes):
    """If time were not linear in its length, this would not end."""
    assert directives_of(b"\r\nCache-Control: a" + piece * 1_000_000)

"""Which content types are kept (plugins.md 5.16)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.proxy_cache.media_types import MediaType, MediaTypeError


@pytest.mark.parametrize(
    ("pattern", "found", "covered"),
    [
        ("application/json", "application/json", True),
        ("application/json", "Application/JSON", True),
        ("application/json", "application/json; charset=utf-8", False),
        ("application/json; charset=utf-8", "application/json;charset=utf-8", True),
        ("application/json; charset=utf-8", 'application/json; Charset="utf-8"', True),
        ("application/json; charset=utf-8", "application/json", False),
        ("application/json; a=1; b=2", "application/json; b=2; a=1", True),
        ("application/json; a=1; b=2", "application/json; a=1", False),
        ("text/*", "text/html", True),
        ("text/*", "text/html; charset=utf-8", False),
        ("text/*", "application/json", False),
        ("*/*", "image/png", True),
        ("*/json", "application/json", True),
    ],
)
def test_what_is_covered(pattern: str, found: str, covered: bool):
    assert MediaType.read(pattern).covers(MediaType.read(found)) is covered


@pytest.mark.parametrize(
    "text", ["", "text", "text/", "/html", "text/html; a", "a b/c", "text/h\n"]
)
def test_what_is_none(text: str):
    with pytest.raises(MediaTypeError):
        MediaType.read(text)


@given(st.text())
def test_nothing_else_is_raised(text: str):
    with contextlib.suppress(MediaTypeError):
        MediaType.read(text)

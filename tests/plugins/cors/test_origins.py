"""Which origins are allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.cors.origins import Origins

A, B = "https://a.test", "https://b.test"


@pytest.mark.parametrize(
    ("entries", "asked", "allowed"),
    [
        ([], None, "*"),
        ([], A, "*"),
        (["*"], A, "*"),
        # One plain value is told to everybody.
        ([A], A, A),
        ([A], B, A),
        ([A], None, A),
        (["a.test"], B, "a.test"),
        # Several: the one that asks, if it is among them.
        ([A, B], A, A),
        ([A, B], B, B),
        ([A, B], None, None),
        ([A, B], "https://c.test", None),
        ([A, B], "http://a.test", None),
        ([A, B], "https://a.test:444", None),
        ([A, B], "https://a.test:443", A),  # the usual port
        (["https://a.test:443", B], A, A),
        (["http://a.test:80", B], "http://a.test", "http://a.test"),
        (["https://a.test:80", B], "https://a.test:80", "https://a.test:80"),
        (["https://a.test/", B], A, A),
        (["https://[::1]:8443", B], "https://[::1]:8443", None),  # no plain value, but a regex
        (["a.test", B], A, None),  # without a scheme it is for origins without one
        (["a.test", B], "a.test", "a.test"),
        (["null", B], "null", "null"),
        ([A, "*"], B, "*"),
        ([A, "*"], None, None),
        # A regex, even alone.
        ([r"(.*\.)?a\.test"], A, A),
        ([r"(.*\.)?a\.test"], "http://x.a.test:8080", "http://x.a.test:8080"),  # its host
        ([r"(.*\.)?a\.test"], "https://a.test.evil.test", None),  # to the end
        ([r"(.*\.)?a\.test"], "https://evil-a.test", None),  # from the start
        ([r"a\.test"], None, None),
        ([r"https?://a\.test(:\d+)?"], "http://a.test:81", "http://a.test:81"),  # all of it
        ([r"https?://a\.test(:\d+)?"], "https://a.test:443", A),
        ([r"https://a\.test"], "https://a.test.evil.test", None),
        ([r"a\.test|b\.test"], "https://b.test.evil.test", None),
        ([r"a\.test|b\.test"], "https://xb.test", None),
    ],
)
def test_who_is_allowed(entries: list[str], asked: str | None, allowed: str | None):
    assert Origins(entries).allowed_for(asked) == allowed


@given(st.text(st.characters(max_codepoint=255)))
def test_whatever_is_said_to_be_an_origin_is_looked_at(asked: str):
    origins = Origins([A, r".*\.b\.test", r"https://c\.test:\d+"])
    assert origins.allowed_for(asked) in (None, asked)

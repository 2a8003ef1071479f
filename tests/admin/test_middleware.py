"""Paths are settled so that segments stay apart."""

from __future__ import annotations

import pytest

from gateway.admin.middleware import settled


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("/services", "/services"),
        ("/services/", "/services"),
        ("/services//", "/services/"),
        ("//", "/"),
        ("/%73ervices", "/services"),
        ("/services/a%2Fb", "/services/a%2Fb"),
        ("/services/a%2fb", "/services/a%2Fb"),
        ("/services/50%25", "/services/50%25"),
        ("/services/caf%C3%A9", "/services/café"),
        ("/services/caf\u00c3\u00a9", "/services/café"),
        ("/services/%zz", "/services/%25zz"),
    ],
)
def test_a_path_is_decoded_segment_by_segment(raw: str, path: str):
    assert settled(raw) == path


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(UnicodeDecodeError):
        settled("/services/%ff")

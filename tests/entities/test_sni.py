"""SNIs: host names, with a wildcard at one end, that lead to a certificate."""

from __future__ import annotations

import pytest

from gateway.entities.sni import SNIS

from .validating import accepted, refused

CERTIFICATE = {"id": "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"}


@pytest.mark.parametrize("name", ["a.example", "*.example", "a.*", "*", "A_b.example"])
def test_a_name_is_kept_as_it_was_given(name: str):
    written = accepted(SNIS, {"name": name, "certificate": CERTIFICATE})
    assert (written["name"], written["certificate"]) == (name, CERTIFICATE)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("10.0.0.1", "must not be an IP"),
        ("::1", "must not be an IP"),
        ("a.example:443", "must not have a port"),
        ("a.*.example", "wildcard must be leftmost or rightmost character"),
        ("*.a.*", "only one wildcard must be specified"),
        ("a b", "invalid value: a b"),
        ("", "length must be at least 1"),
    ],
)
def test_what_no_client_can_ask_for_is_refused(name: str, text: str):
    assert refused(SNIS, {"name": name, "certificate": CERTIFICATE}) == {"name": text}


def test_both_fields_are_required():
    assert refused(SNIS, {"certificate": None}) == {
        "name": "required field missing",
        "certificate": "required field missing",
    }
    assert refused(SNIS, {"name": "a", "certificate": {"name": "a"}}) == {
        "certificate": {"id": "missing primary key"}
    }

"""Targets: the address is completed when it is written."""

from __future__ import annotations

import pytest

from gateway.entities.target import TARGETS

from .validating import accepted, refused

UPSTREAM = {"id": "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"}


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("A.example", "A.example:8000"),
        ("a:80", "a:80"),
        ("010.0.0.1", "10.0.0.1:8000"),
        ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
        ("[2001:DB8::1]:80", "[2001:0db8:0000:0000:0000:0000:0000:0001]:80"),
    ],
)
def test_a_target_is_kept_as_host_and_port(target: str, kept: str):
    assert accepted(TARGETS, {"target": target, "upstream": UPSTREAM})["target"] == kept


@pytest.mark.parametrize("target", ["a b", "a:99999", "1.2.3", ":::"])
def test_what_is_no_address_is_refused(target: str):
    assert refused(TARGETS, {"target": target, "upstream": UPSTREAM}) == {
        "target": "Invalid target; not a valid hostname or ip address"
    }


def test_an_upstream_is_required():
    assert refused(TARGETS, {"target": "a", "upstream": None}) == {
        "upstream": "required field missing"
    }


def test_times_are_written_with_milliseconds():
    target = accepted(TARGETS, {"target": "a", "upstream": UPSTREAM, "created_at": 1718000000.1234})
    assert target["created_at"] == 1718000000.123

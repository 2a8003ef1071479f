"""Consumers: called by their name, by what another system calls them, or by both."""

from __future__ import annotations

import pytest

from gateway.entities.consumer import CONSUMERS

from .validating import accepted, refused

NAMELESS = "at least one of these fields must be non-empty: 'custom_id', 'username'"


@pytest.mark.parametrize(
    "given",
    [
        {"username": "bob"},
        {"custom_id": "42"},
        {"username": "Bob & Söhne / 7", "custom_id": "a b"},
        {"username": "bob", "custom_id": None, "tags": ["a"]},
    ],
)
def test_one_name_is_enough_and_may_be_any_text(given: dict[str, object]):
    consumer = accepted(CONSUMERS, given)
    assert {"username": None, "custom_id": None, "tags": None} | given == {
        name: consumer[name] for name in ("username", "custom_id", "tags")
    }


@pytest.mark.parametrize("given", [{}, {"username": None}, {"custom_id": None, "tags": ["a"]}])
def test_one_name_is_needed(given: dict[str, object]):
    assert refused(CONSUMERS, given) == {"@entity": [NAMELESS]}
    assert refused(CONSUMERS, given, "update") == {"@entity": [f"when updating, {NAMELESS}"]}


def test_a_name_that_is_wrong_is_told_and_nothing_more():
    assert refused(CONSUMERS, {"username": ""}) == {"username": "length must be at least 1"}
    assert refused(CONSUMERS, {"username": 7}) == {"username": "expected a string"}
    assert refused(CONSUMERS, {"username": "a\x00"}) == {
        "username": "must not contain the NUL character"
    }

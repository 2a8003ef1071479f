"""Credentials: what is made for those who give nothing, and what is refused."""

from __future__ import annotations

import string
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.entities import EntityType
from gateway.entities.credentials import (
    ACLS,
    ALGORITHMS,
    BASICAUTH_CREDENTIALS,
    CREDENTIALS,
    HMACAUTH_CREDENTIALS,
    JWT_SECRETS,
    KEYAUTH_CREDENTIALS,
)
from tests.proxy.certificates import new_rsa_key

from .validating import accepted, refused

ID = "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"
BOB = {"consumer": {"id": ID}}
MISSING = "required field missing"
PUBLIC_KEY = (
    new_rsa_key()
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


@pytest.mark.parametrize("entity_type", CREDENTIALS, ids=lambda entity_type: entity_type.table)
def test_each_belongs_to_a_consumer_and_does_not_tell_when_it_was_written(entity_type: EntityType):
    assert refused(entity_type, {"username": "bob", "password": "x", "group": "a"})["consumer"] == (
        MISSING
    )
    assert "updated_at" not in entity_type.fields
    assert entity_type.fields["consumer"].references.on_delete == "cascade"


@pytest.mark.parametrize(
    ("entity_type", "given", "fields"),
    [
        (KEYAUTH_CREDENTIALS, {}, ["key"]),
        (KEYAUTH_CREDENTIALS, {"key": None}, ["key"]),
        (JWT_SECRETS, {}, ["key", "secret"]),
        (JWT_SECRETS, {"key": None, "secret": None}, ["key", "secret"]),
        (HMACAUTH_CREDENTIALS, {"username": "bob"}, ["secret"]),
    ],
)
def test_what_is_not_given_is_made_at_random(
    entity_type: EntityType, given: dict[str, Any], fields: list[str]
):
    first, second = accepted(entity_type, given | BOB), accepted(entity_type, given | BOB)
    for name in fields:
        assert first[name] != second[name]
        assert len(first[name]) == 32
        assert set(first[name]) <= set(string.ascii_letters + string.digits)


@pytest.mark.parametrize(
    ("entity_type", "given", "fields"),
    [
        (BASICAUTH_CREDENTIALS, {}, {"username": MISSING, "password": MISSING}),
        (HMACAUTH_CREDENTIALS, {}, {"username": MISSING}),
        (ACLS, {}, {"group": MISSING}),
        (ACLS, {"group": None}, {"group": MISSING}),
        (KEYAUTH_CREDENTIALS, {"key": ""}, {"key": "length must be at least 1"}),
        (JWT_SECRETS, {"ttl": 1}, {"ttl": "unknown field"}),
    ],
)
def test_what_is_needed_and_what_there_is_not(
    entity_type: EntityType, given: dict[str, Any], fields: dict[str, Any]
):
    assert refused(entity_type, given | BOB) == fields


# -- keys that end


@pytest.mark.parametrize(
    ("ttl", "shown"), [(None, None), (0, None), (60, 59), (60.0, 59), (100_000_000, 99_999_999)]
)
def test_a_key_shows_the_whole_seconds_it_has_left(ttl: float | None, shown: int | None):
    assert accepted(KEYAUTH_CREDENTIALS, {"ttl": ttl} | BOB)["ttl"] in (shown, ttl or None)


@pytest.mark.parametrize(
    ("ttl", "text"),
    [
        (-1, "value should be between 0 and 100000000"),
        (100_000_001, "value should be between 0 and 100000000"),
        (1.5, "expected an integer"),
        ("60", "expected an integer"),
    ],
)
def test_a_ttl_that_cannot_be(ttl: object, text: str):
    assert refused(KEYAUTH_CREDENTIALS, {"ttl": ttl} | BOB) == {"ttl": text}


# -- passwords


def test_of_a_password_only_a_hash_is_kept():
    given = {"username": "bob", "password": "secret"} | BOB
    kept = accepted(BASICAUTH_CREDENTIALS, given)["password"]
    assert kept.startswith("$argon2id$")
    assert accepted(BASICAUTH_CREDENTIALS, given | {"password": kept})["password"] == kept


def test_a_password_that_would_take_long_to_hash_is_refused():
    given = {"username": "bob", "password": "x" * 4097} | BOB
    assert refused(BASICAUTH_CREDENTIALS, given) == {"password": "length must be at most 4096"}


# -- keys for tokens


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_some_algorithms_need_a_public_key(algorithm: str):
    given = {"algorithm": algorithm} | BOB
    if algorithm[:2] in ("HS", "ES"):
        assert accepted(JWT_SECRETS, given)["rsa_public_key"] is None
    else:
        assert refused(JWT_SECRETS, given) == {
            "@entity": ["failed conditional validation given value of field 'algorithm'"],
            "rsa_public_key": MISSING,
        }
    complete = accepted(JWT_SECRETS, given | {"rsa_public_key": PUBLIC_KEY})
    assert complete["rsa_public_key"] == PUBLIC_KEY


def test_a_public_key_must_be_one_where_it_is_used():
    given = {"algorithm": "RS256", "rsa_public_key": "nonsense"} | BOB
    assert refused(JWT_SECRETS, given)["rsa_public_key"].startswith("invalid key")
    assert accepted(JWT_SECRETS, given | {"algorithm": "HS256"})["rsa_public_key"] == "nonsense"


def test_an_algorithm_must_be_known():
    found = refused(JWT_SECRETS, {"algorithm": "none"} | BOB)
    assert found == {"algorithm": f"expected one of: {', '.join(ALGORITHMS)}"}


def test_secrets_are_known_as_such():
    secrets = {
        entity_type.table: [field.name for field in entity_type.fields.values() if field.secret]
        for entity_type in CREDENTIALS
    }
    assert secrets == {
        "keyauth_credentials": ["key"],
        "basicauth_credentials": ["password"],
        "jwt_secrets": ["secret"],
        "hmacauth_credentials": ["secret"],
        "acls": [],
    }

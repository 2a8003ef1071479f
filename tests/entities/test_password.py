"""Passwords: hashed once, with a salt; what is a hash already stays as it is."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import pytest
from argon2 import PasswordHasher

from gateway.entities.password import KONG_PREFIX, hashed, is_kept, is_password

SHA1 = "5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8"
ARGON2 = (
    "$argon2id$v=19$m=19456,t=2,p=1"
    "$XomNYcB31BYDWydkdAP2aA$XmF+cxaJSw776XZgR/sihSHUA83AJhecG7mSi45hVgo"
)


def test_a_password_is_kept_as_a_salted_hash():
    first, second = hashed("secret"), hashed("secret")
    assert first != second
    assert first.startswith("$argon2id$v=19$")
    assert PasswordHasher().verify(first, "secret")


@pytest.mark.parametrize(
    "kept",
    [
        ARGON2,
        ARGON2.replace("m=19456,t=2,p=1", "m=65536,t=3,p=4"),
        f"{{kong-sha1}}{SHA1}",
    ],
)
def test_what_is_kept_may_be_written_again(kept: str):
    assert hashed(kept) == kept


@pytest.mark.parametrize(
    "password",
    [
        SHA1,
        f"{{kong-sha1}}{SHA1[1:]}",
        f"{{kong-sha1}}{SHA1.upper()}",
        "$argon2id$v=19$m=19456,t=2,p=1$short$hash",
        ARGON2.replace("argon2id", "argon2d"),
        ARGON2 + " ",
        "$2b$12$eImiTXuWVxfM37uY4JANjQ",
    ],
)
def test_what_only_looks_like_a_hash_is_a_password(password: str):
    kept = hashed(password)
    assert kept != password
    assert PasswordHasher().verify(kept, password)


def test_what_is_kept_is_told_from_a_password():
    consumer_id = uuid4()
    digest = hashlib.sha1(f"secret{consumer_id}".encode()).hexdigest()
    for kept in (hashed("secret"), KONG_PREFIX + digest):
        assert is_kept(kept)
        assert is_password("secret", kept, consumer_id)
        assert not is_password("other", kept, consumer_id)
    assert not is_kept("secret")
    assert not is_password("secret", KONG_PREFIX + digest, uuid4())
    assert not is_password("secret", "$argon2id$broken", consumer_id)

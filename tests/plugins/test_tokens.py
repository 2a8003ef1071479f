"""Tokens: every algorithm with examples of the RFCs and keys of our own, and what is none."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from gateway.entities.credentials import ALGORITHMS
from gateway.plugins.tokens import (
    BadTokenError,
    Token,
    UnusableKeyError,
    from_base64url,
    is_signed,
    read_token,
)

from .token_maker import as_part, base64url, ed448_key, pem, private_key, signature, token

RFC_CLAIMS = (
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)


def number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_hs256_of_rfc_7515_appendix_a_1():
    read = read_token(
        f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC_CLAIMS}."
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    secret = from_base64url(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    )
    assert read.claims["iss"] == "joe"
    assert secret is not None
    assert is_signed(read, "HS256", secret)
    assert not is_signed(read, "HS256", secret + b"\0")


def test_es256_of_rfc_7515_appendix_a_3():
    read = read_token(
        f"eyJhbGciOiJFUzI1NiJ9.{RFC_CLAIMS}."
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    x = number("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
    y = number("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    assert is_signed(read, "ES256", pem(key))


def test_eddsa_of_rfc_8037_appendix_a_4():
    made = from_base64url(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    public = from_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert made is not None
    assert public is not None
    key = ed25519.Ed25519PublicKey.from_public_bytes(public)
    signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    assert is_signed(Token({}, {}, signed, made), "EdDSA", pem(key))
    assert not is_signed(Token({}, {}, signed + b"x", made), "EdDSA", pem(key))


@pytest.mark.parametrize("algorithm", [a for a in ALGORITHMS if a[:2] != "HS"])
def test_public_keys(algorithm: str):
    read, key = read_token(token({"iss": "k"}, algorithm)), pem(private_key(algorithm))
    assert is_signed(read, algorithm, key)
    changed = bytes([read.signature[0] ^ 1]) + read.signature[1:]
    for bad in (changed, b"", b"\0" * len(read.signature), read.signature + b"\0"):
        assert not is_signed(read._replace(signature=bad), algorithm, key)
    assert not is_signed(read._replace(signed=read.signed + b"x"), algorithm, key)


def test_ed448():
    key = ed448_key()
    assert is_signed(read_token(token({}, "EdDSA", key)), "EdDSA", pem(key))


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", "not PEM"),
        ("RS256", pem(private_key("ES256"))),
        ("PS256", pem(private_key("EdDSA"))),
        ("ES256", pem(private_key("ES384"))),
        ("ES256", pem(private_key("RS256"))),
        ("EdDSA", pem(private_key("ES256"))),
    ],
)
def test_keys_that_are_not_for_their_algorithm(algorithm: str, key: str):
    with pytest.raises(UnusableKeyError):
        is_signed(Token({}, {}, b"", b""), algorithm, key)


HEAD = as_part({"alg": "HS256"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "invalid JSON"),
        ("a", "invalid JSON"),
        (f"{HEAD}.{as_part({})}", "invalid JSON"),
        (f"%.{as_part({})}.", "invalid JSON"),
        (f"{HEAD}.{base64url(b'{')}.", "invalid JSON"),
        (f"{HEAD}.{base64url(bytes([0xFF]))}.", "invalid JSON"),
        (f"{HEAD}.{base64url(b'[' * 100_000)}.", "invalid JSON"),
        (f"{HEAD}.{base64url(b'9' * 5000)}.", "invalid JSON"),
        (f"{HEAD}.{base64url(b'NaN')}.", "invalid JSON"),
        (f"{as_part([])}.{as_part({})}.", "invalid alg"),
        (f"{as_part({})}.{as_part({})}.", "invalid alg"),
        (f"{as_part({'alg': 'none'})}.{as_part({})}.", "invalid alg"),
        (f"{as_part({'alg': ['HS256']})}.{as_part({})}.", "invalid alg"),
        (f"{as_part({'alg': 'hs256'})}.{as_part({})}.", "invalid alg"),
        (f"{HEAD}.{as_part([])}.", "invalid claims"),
        (f"{HEAD}.{as_part(None)}.", "invalid claims"),
        (f"{HEAD}.{as_part({})}.%", "invalid signature"),
        (f"{HEAD}.{as_part({})}.A", "invalid signature"),
        (f"{HEAD}.{as_part({})}.AAAA.AAAA", "invalid signature"),
    ],
)
def test_what_is_no_token(text: str, expected: str):
    with pytest.raises(BadTokenError, match=f"^{expected}$"):
        read_token(text)


@given(st.text(max_size=40) | st.binary(max_size=60).map(lambda data: f"{HEAD}.{base64url(data)}."))
def test_garbage_is_told_apart(text: str):
    try:
        read_token(text)
    except BadTokenError:
        return


def test_padding_is_taken():
    content = f"{HEAD}==.{as_part({'a': 1})}="
    padded = f"{content}.{base64url(signature(content.encode(), 'HS256'))}="
    assert is_signed(read_token(padded), "HS256", b"geheim")

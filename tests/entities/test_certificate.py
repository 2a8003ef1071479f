"""Certificates: PEM texts that can be read, keys that fit, names that are written with them."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.entities import SchemaViolationError
from gateway.entities.certificate import CERTIFICATES, Certificate
from gateway.entities.pem import MOST_PEM_CHARACTERS
from gateway.proxy.key_pairs import load_pair
from gateway.snapshot import KeyPair
from tests.proxy.certificates import Authority, Key, new_rsa_key, pem_of_key

from .validating import accepted, refused

ROOT = Authority()
CA = Authority("Intermediate CA", ROOT)
PAIR = CA.issue("a.example")
OTHER = CA.issue("b.example")
RSA_PAIR = CA.issue("a.example", key=new_rsa_key())
NO_CERT = "invalid certificate: there is no PEM block of a certificate"
NO_KEY = "invalid key: there is no PEM block of a private key"


def given(pair: KeyPair = PAIR, **fields: Any) -> dict[str, Any]:
    return {"cert": pair.cert_pem, "key": pair.key_pem, **fields}


def alternative(pair: KeyPair) -> dict[str, Any]:
    return {"cert_alt": pair.cert_pem, "key_alt": pair.key_pem}


def names_of(given: dict[str, Any], operation: Any = "create") -> list[str] | None:
    entity = CERTIFICATES.validate(CERTIFICATES.expand(given, operation))
    assert isinstance(entity, Certificate)
    return entity.snis


# -- texts


@pytest.mark.parametrize("pair", [PAIR, RSA_PAIR], ids=["ecdsa", "rsa"])
def test_a_chain_and_its_key_are_kept_as_they_were_given(pair: KeyPair):
    assert pair.cert_pem.count("BEGIN CERTIFICATE") == 2
    written = accepted(CERTIFICATES, given(pair))
    assert (written["cert"], written["key"]) == (pair.cert_pem, pair.key_pem)
    assert (written["cert_alt"], written["key_alt"], written["tags"]) == (None, None, None)


@pytest.mark.parametrize(
    ("key", "bits", "enough"),
    [
        (new_rsa_key(1024), 1024, 2048),
        (new_rsa_key(1962), 1962, 2048),
        (ec.generate_private_key(ec.SECP192R1()), 192, 256),
    ],
    ids=["rsa-1024", "rsa-1962", "ecdsa-192"],
)
def test_what_openssl_does_not_show_is_refused(key: Key, bits: int, enough: int):
    pair = CA.issue("a.example", key=key)
    with pytest.raises(ssl.SSLError, match="KEY_TOO_SMALL"):
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    reason = f"a key of {bits} bits is too short for TLS: use {enough} or more"
    assert refused(CERTIFICATES, given(pair)) == {"cert": reason}
    fields = refused(CERTIFICATES, given() | alternative(pair))
    assert fields["cert_alt"] == reason


@pytest.mark.parametrize("key", [new_rsa_key(1963), ec.generate_private_key(ec.SECP224R1())])
def test_what_openssl_just_shows_is_taken(key: Key):
    pair = CA.issue("a.example", key=key)
    load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    assert accepted(CERTIFICATES, given(pair))["cert"] == pair.cert_pem


def test_nor_one_further_up():
    leaf, above = CA.issue("a.example"), CA.issue("b.example", key=new_rsa_key(1024))
    chain = KeyPair(leaf.cert_pem + above.cert_pem, leaf.key_pem)
    assert list(refused(CERTIFICATES, given(chain))) == ["cert"]


def test_both_are_required():
    assert refused(CERTIFICATES, {}) == {
        "cert": "required field missing",
        "key": "required field missing",
    }


def test_every_kind_of_key_in_every_form_is_read():
    key = ec.generate_private_key(ec.SECP384R1())
    pair = CA.issue("a.example", key=key)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        pem = key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
        assert accepted(CERTIFICATES, given(pair, key=pem))["key"] == pem


@pytest.mark.parametrize("text", ["nonsense", "é", "-----BEGIN"])
def test_what_is_no_pem_is_refused(text: str):
    assert refused(CERTIFICATES, {"cert": text, "key": text}) == {"cert": NO_CERT, "key": NO_KEY}


def test_a_text_in_the_place_of_the_other_is_refused():
    fields = refused(CERTIFICATES, {"cert": PAIR.key_pem, "key": PAIR.cert_pem})
    assert fields == {"cert": NO_CERT, "key": NO_KEY}


@pytest.mark.parametrize("end", ["", "-----END CERTIFICATE-----\n"])
def test_one_broken_certificate_spoils_the_chain(end: str):
    broken = PAIR.cert_pem + "".join(PAIR.cert_pem.splitlines(keepends=True)[:4]) + end
    assert refused(CERTIFICATES, given(cert=broken))["cert"].startswith("invalid certificate: ")


def test_a_key_under_a_password_is_refused_without_being_told():
    locked = pem_of_key(new_rsa_key(), b"secret")
    assert refused(CERTIFICATES, given(key=locked)) == {
        "key": "invalid key: Password was not given but private key is encrypted"
    }


def test_a_reference_to_a_vault_is_refused():
    text = "vault references are not supported: give the PEM text itself"
    reference = "{vault://env/certificate}"
    assert refused(CERTIFICATES, {"cert": reference, "key": reference}) == {
        "cert": text,
        "key": text,
    }


def test_a_text_of_any_length_is_not_read():
    fields = refused(CERTIFICATES, given(cert="\n" * MOST_PEM_CHARACTERS + PAIR.cert_pem))
    assert fields == {"cert": "length must be at most 131072"}


# -- keys


def test_a_key_of_another_certificate_is_refused():
    assert refused(CERTIFICATES, given(key=OTHER.key_pem)) == {
        "@entity": ["certificate does not match key"]
    }
    assert refused(CERTIFICATES, given(key=RSA_PAIR.key_pem)) == {
        "@entity": ["certificate does not match key"]
    }


def test_a_key_that_fits_no_certificate_is_refused():
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert refused(CERTIFICATES, given(key=pem)) == {"@entity": ["certificate does not match key"]}


def test_an_alternative_pair_has_a_key_of_another_type():
    written = accepted(CERTIFICATES, given(**alternative(RSA_PAIR)))
    assert (written["cert_alt"], written["key_alt"]) == (RSA_PAIR.cert_pem, RSA_PAIR.key_pem)
    assert refused(CERTIFICATES, given(**alternative(OTHER))) == {
        "@entity": [
            "certificate and alternative certificate need to have different type (e.g. RSA and "
            "ECDSA), the provided certificates were both of the same type"
        ]
    }


def test_the_alternative_key_must_fit_as_well():
    mixed = {"cert_alt": RSA_PAIR.cert_pem, "key_alt": PAIR.key_pem}
    assert refused(CERTIFICATES, given(**mixed)) == {
        "@entity": ["alternative certificate does not match key"]
    }


@pytest.mark.parametrize("name", ["cert_alt", "key_alt"])
def test_an_alternative_is_a_whole_pair(name: str):
    half = {name: alternative(RSA_PAIR)[name]}
    assert refused(CERTIFICATES, given(**half)) == {
        "@entity": ["all or none of these fields must be set: 'cert_alt', 'key_alt'"]
    }


def test_what_refuses_a_certificate_does_not_tell_the_key():
    with pytest.raises(SchemaViolationError) as refusal:
        CERTIFICATES.validate(given(OTHER, cert=PAIR.cert_pem, key_alt=PAIR.key_pem + "x"))
    for line in (PAIR.key_pem + OTHER.key_pem).splitlines():
        assert line not in str(refusal.value)


# -- names


def test_names_are_checked_with_the_certificate_but_not_kept_in_it():
    assert names_of(given(snis=["a.example", "*.b.example", "c.*"])) == [
        "a.example",
        "*.b.example",
        "c.*",
    ]
    assert "snis" not in accepted(CERTIFICATES, given(snis=["a.example"]))
    assert names_of(given()) is None
    assert names_of(given(snis=None)) is None


def test_a_name_twice_is_refused_in_words():
    with pytest.raises(SchemaViolationError) as refusal:
        names_of(given(snis=["a.example", "b.example", "a.example"]))
    assert str(refusal.value) == "schema violation (snis: a.example is duplicated)"


def test_there_is_an_end_to_the_names_written_at_once():
    names = [f"n{number}.example" for number in range(1001)]
    assert names_of(given(snis=names[:1000])) == names[:1000]
    assert refused(CERTIFICATES, given(snis=names)) == {"snis": "length must be at most 1000"}


def test_a_bad_name_is_refused_in_its_place():
    assert refused(CERTIFICATES, given(snis=["a.example", "10.0.0.1", "a.*.example"])) == {
        "snis": [None, "must not be an IP", "wildcard must be leftmost or rightmost character"]
    }


def test_a_single_name_is_taken_where_the_certificate_may_be_there_already():
    for operation in ("upsert", "update"):
        assert names_of(given(snis="a.example"), operation) == ["a.example"]
    assert refused(CERTIFICATES, given(snis="a.example")) == {"snis": "expected an array"}

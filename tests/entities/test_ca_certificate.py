"""CA certificates: one certificate of a CA that has not expired, known by its digest."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.entities.ca_certificate import CA_CERTIFICATES
from gateway.entities.pem import MOST_PEM_CHARACTERS
from tests.proxy.certificates import Authority

from .validating import accepted, refused

CA = Authority()
NOT_A_CA = 'certificate does not appear to be a CA because it is missing the "CA" basic constraint'


def self_signed(*extensions: x509.ExtensionType, days: int = 1) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    end = datetime.now(UTC) + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=2))
        .not_valid_after(end)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def is_ca(ca: bool) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca=ca, path_length=None)


def test_it_is_kept_with_the_digest_of_what_it_stands_for():
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(CA.pem)).hexdigest()
    written = accepted(CA_CERTIFICATES, {"cert": CA.pem})
    assert (written["cert"], written["cert_digest"]) == (CA.pem, digest)
    with_comment = accepted(CA_CERTIFICATES, {"cert": f"Our root:\n{CA.pem}"})
    assert with_comment["cert_digest"] == digest


def test_the_digest_is_not_chosen():
    chosen = {"cert_digest": "0" * 64}
    assert accepted(CA_CERTIFICATES, {"cert": CA.pem, **chosen})["cert_digest"] != "0" * 64
    assert CA_CERTIFICATES.expand(chosen, "update") == {}


@pytest.mark.parametrize(
    ("pem", "text"),
    [
        (CA.pem + Authority().pem, "please submit only one certificate at a time"),
        (CA.pem + CA.pem, "please submit only one certificate at a time"),
        (
            self_signed(is_ca(True), days=-1),
            'certificate expired, "Not After" time is in the past',
        ),
        (self_signed(is_ca(False)), NOT_A_CA),
        (self_signed(), NOT_A_CA),
        (CA.issue("a.example").cert_pem, NOT_A_CA),
    ],
    ids=["two", "twice", "expired", "no-ca", "unsaid", "leaf"],
)
def test_what_does_not_do_as_a_ca_is_refused(pem: str, text: str):
    assert refused(CA_CERTIFICATES, {"cert": pem}) == {"@entity": [text]}


@pytest.mark.parametrize(
    ("cert", "text"),
    [
        (None, "required field missing"),
        (1, "expected a string"),
        ("", "length must be at least 1"),
        ("x" * (MOST_PEM_CHARACTERS + 1), "length must be at most 131072"),
        ("{vault://env/ca}", "vault references are not supported: give the PEM text itself"),
    ],
)
def test_what_is_no_text_of_a_certificate_is_refused(cert: object, text: str):
    assert refused(CA_CERTIFICATES, {"cert": cert}) == {"cert": text}


def test_a_version_that_does_not_exist_is_refused():
    version_3, version_6 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"
    der = ssl.PEM_cert_to_DER_cert(CA.pem).replace(version_3, version_6)
    assert refused(CA_CERTIFICATES, {"cert": ssl.DER_cert_to_PEM_cert(der)}) == {
        "cert": "invalid certificate: 5 is not a valid X509 version"
    }


def test_a_text_that_cannot_be_read_is_refused():
    text = "invalid certificate: there is no PEM block of a certificate"
    assert refused(CA_CERTIFICATES, {"cert": "nonsense"}) == {"cert": text}

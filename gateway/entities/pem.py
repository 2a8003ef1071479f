"""Certificates and private keys in PEM, read as far as it takes to tell whether they are any good.

Whether an RSA key's numbers are prime is not checked: that takes 70 ms for 2048 bits, half a second
for 4096, and is the business of whoever made the key. To read a pair takes about 50 µs without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
    PublicKeyTypes,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509 import Certificate, InvalidVersion, load_pem_x509_certificates

from gateway.entities.errors import violation
from gateway.entities.rules import AtMost, Satisfies
from gateway.entities.types import Text

MOST_PEM_CHARACTERS = 131_072
"""More than the 100 KiB that OpenSSL takes for a chain from its peer."""


def parse_chain(pem: str) -> list[Certificate]:
    """Return the certificates in a text, at least one. Raises ValueError."""
    _require_block(pem, "CERTIFICATE-----", "a certificate")
    try:
        return load_pem_x509_certificates(pem.encode())
    except InvalidVersion as error:
        raise ValueError(str(error)) from None


def parse_private_key(pem: str) -> PrivateKeyTypes:
    """Return the private key in a text. Raises ValueError, also for one under a password."""
    _require_block(pem, "PRIVATE KEY-----", "a private key")
    try:
        return load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None


def parse_public_key(pem: str) -> PublicKeyTypes:
    """Return the public key in a text. Raises ValueError."""
    _require_block(pem, "PUBLIC KEY-----", "a public key")
    try:
        return load_pem_public_key(pem.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None


def public_key_of(certificate: Certificate) -> CertificatePublicKeyTypes:
    """Return the key that a certificate is for. Raises ValueError for a kind that is not known."""
    try:
        return certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None


def is_pair(cert: str, key: str) -> bool:
    """Tell whether the first certificate of a chain is for this private key. Raises ValueError."""
    return public_key_of(parse_chain(cert)[0]) == parse_private_key(key).public_key()


def _require_block(pem: str, label_end: str, what: str) -> None:
    """Say plainly what the library would not, or would pass over and OpenSSL then not take."""
    if label_end not in pem:
        raise ValueError(f"there is no PEM block of {what}")
    if pem.count("-----BEGIN ") != pem.count("-----END "):
        raise ValueError("a PEM block lacks its beginning or its end")


def _readable(what: str, parse: Callable[[str], Any]) -> Callable[[str], str]:
    """Return a rule for texts that ``parse`` reads, and that are not references to a vault."""

    def check(pem: str) -> str:
        if pem.startswith("{vault://"):
            raise violation("vault references are not supported: give the PEM text itself")
        try:
            parse(pem)
        except ValueError as error:
            raise violation(f"invalid {what}: {error}") from None
        return pem

    return check


CertificatePem = Annotated[
    Text,
    AtMost(MOST_PEM_CHARACTERS),
    Satisfies(_readable("certificate", lambda pem: public_key_of(parse_chain(pem)[0]))),
]
PrivateKeyPem = Annotated[
    Text, AtMost(MOST_PEM_CHARACTERS), Satisfies(_readable("key", parse_private_key))
]
PemText = Annotated[Text, AtMost(MOST_PEM_CHARACTERS)]
"""What may be PEM, or may be anything, where that depends on another field."""

check_public_key = _readable("key", parse_public_key)
"""Raises a violation for a text that is no public key in PEM."""

"""Certificates and private keys in PEM, read as far as it takes to tell whether they are any good.

Whether an RSA key's numbers are prime is not checked: that takes 70 ms for 2048 bits, half a second
for 4096, and is the business of whoever made the key. A pair costs about 50 µs without it.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates


def parse_chain(pem: str) -> list[Certificate]:
    """Return the certificates in a text, at least one. Raises ValueError."""
    return load_pem_x509_certificates(pem.encode())


def parse_private_key(pem: str) -> PrivateKeyTypes:
    """Return the private key in a text. Raises ValueError, also for one under a password."""
    try:
        return load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None


def public_key_of(certificate: Certificate) -> CertificatePublicKeyTypes:
    """Return the key that a certificate is for. Raises ValueError for a kind that is not known."""
    try:
        return certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None

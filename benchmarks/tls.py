"""The certificate that every server with TLS shows, and what it agrees on with its clients."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.self_signed import pem_of_certificate, pem_of_key, self_signed


@dataclass(frozen=True, slots=True)
class Identity:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


def make_identity(home: Path) -> Identity:
    """Make a certificate with an ECDSA key (P-256)."""
    home.mkdir()
    identity = Identity(home / "certificate.pem", home / "key.pem")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(key, "localhost", 1, [ExtendedKeyUsageOID.SERVER_AUTH])
    identity.certificate.write_bytes(pem_of_certificate(certificate))
    identity.key.write_bytes(pem_of_key(key))
    return identity


def agreed(port: int) -> str:
    """Return version and cipher that a server of this machine agrees on."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 10) as connected,
        context.wrap_socket(connected) as secured,
    ):
        cipher = secured.cipher()
        return f"{secured.version()}, {cipher[0] if cipher else 'no cipher'}"

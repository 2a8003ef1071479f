"""The certificate pair that all control planes and data planes of a cluster share.

Whoever holds the private key belongs to the cluster. Both sides show the same certificate and take
no other: TLS trusts that very certificate alone, and the one shown is compared byte by byte. So
names in it mean nothing, and neither does its end of validity: an expired pair is complained about
rather than let a whole cluster fall apart at midnight.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.self_signed import pem_of_certificate, pem_of_key, self_signed
from gateway.settings import NodeSettings, named

SERVER_NAME = "gateway-clustering"
"""Sent as SNI, so that a TLS router in between can tell cluster traffic apart."""

EXPIRES_SOON = timedelta(days=30)

_NO_CHECK_TIME = 0x20_0000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which `ssl` has no name."""

_log = structlog.get_logger(__name__)


class PairError(Exception):
    """The pair cannot be made or used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class ClusterPair:
    """A certificate and its key, checked to belong together."""

    certificate_path: Path
    key_path: Path
    certificate: bytes
    """In DER form, as TLS shows it."""
    expires_at: datetime

    @classmethod
    def of(cls, settings: NodeSettings) -> ClusterPair:
        """Read the pair that the settings name. Raises PairError."""
        for field in ("cluster_cert", "cluster_cert_key"):
            if not getattr(settings, field):
                raise PairError(
                    f"{named(field)} is required for role {settings.role}: make the pair once "
                    "with `gateway hybrid certs` and give it to every control and data plane"
                )
        certificate, key = settings.cluster_cert, settings.cluster_cert_key
        return cls.read(Path(certificate).expanduser(), Path(key).expanduser())

    @classmethod
    def read(cls, certificate_path: Path, key_path: Path) -> ClusterPair:
        """Read a pair from files in PEM form. Raises PairError."""
        certificate = _certificate(certificate_path)
        _check_key(key_path, certificate, certificate_path)
        return cls(
            certificate_path,
            key_path,
            certificate.public_bytes(serialization.Encoding.DER),
            certificate.not_valid_after_utc,
        )

    def server_context(self) -> ssl.SSLContext:
        """Return what a control plane accepts connections with."""
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def client_context(self) -> ssl.SSLContext:
        """Return what a data plane connects with."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def is_shown_by(self, peer: ssl.SSLObject) -> bool:
        """Tell whether the other side of a connection has shown this very certificate."""
        return peer.getpeercert(binary_form=True) == self.certificate

    def complain_of_expiry(self) -> None:
        """Say in the log that the pair has expired, or soon will have."""
        left = self.expires_at - datetime.now(UTC)
        if left < EXPIRES_SOON:
            _log.warning(
                "the cluster certificate has expired; it goes on working, but make a new pair"
                if left < timedelta()
                else "the cluster certificate expires soon; make a new pair",
                path=str(self.certificate_path),
                expires_at=self.expires_at.isoformat(),
            )

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
        context.load_verify_locations(cadata=self.certificate)
        context.load_cert_chain(self.certificate_path, self.key_path)
        return context


def make_pair(directory: Path, days: int) -> ClusterPair:
    """Make ``cluster.crt`` and ``cluster.key`` in a directory, the key readable by its owner only.

    Raises PairError, also if there is one of them already.
    """
    certificate_path, key_path = directory / "cluster.crt", directory / "cluster.key"
    for path in (certificate_path, key_path):
        if path.exists():
            raise PairError(f"{path} is there already: name another place with --dir")
    key = ec.generate_private_key(ec.SECP384R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = self_signed(key, SERVER_NAME, days, usages)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(key_path, 0o600, pem_of_key(key))
        _write(certificate_path, 0o644, pem_of_certificate(certificate))
    except OSError as error:
        raise PairError(f"{error.filename}: {error.strerror}") from error
    return ClusterPair.read(certificate_path, key_path)


def _write(path: Path, mode: int, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_content("cluster_cert", path))
    except ValueError:
        raise PairError(
            f"{named('cluster_cert')}: {path} is not a certificate in PEM form"
        ) from None


def _check_key(path: Path, certificate: x509.Certificate, certificate_path: Path) -> None:
    """Make sure that the key can be read and is the certificate's."""
    setting = named("cluster_cert_key")
    try:
        key = serialization.load_pem_private_key(_content("cluster_cert_key", path), password=None)
    except (ValueError, TypeError):
        raise PairError(f"{setting}: {path} is not an unencrypted key in PEM form") from None
    if key.public_key() != certificate.public_key():
        raise PairError(f"{setting}: the key in {path} is not that of {certificate_path}")


def _content(field: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PairError(f"{named(field)}: {path} cannot be read: {error.strerror}") from error

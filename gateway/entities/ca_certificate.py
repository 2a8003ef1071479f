"""CA certificate: what certificates of peers are verified against. Sheet: entities.md, 3.9."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import Field

from gateway.entities.checks import Finding, Values
from gateway.entities.entity import Given, Operation, Unique, UpdatedEntity
from gateway.entities.entity_type import EntityType
from gateway.entities.errors import ENTITY
from gateway.entities.pem import MOST_PEM_CHARACTERS, CertificatePem, parse_chain
from gateway.entities.types import Text


class CaCertificate(UpdatedEntity):
    """What certificates of peers are verified against."""

    cert: CertificatePem = Field(description="The one certificate in PEM.")
    cert_digest: Annotated[Text | None, Unique()] = Field(
        default=None, description="SHA-256 of the certificate in DER, in hexadecimal; not chosen."
    )

    @classmethod
    def expand(cls, given: Given, operation: Operation) -> Given:
        """Let the digest follow the certificate, whatever was given for it."""
        del operation
        expanded = {name: value for name, value in given.items() if name != "cert_digest"}
        return expanded | {"cert_digest": _digest(given["cert"])} if "cert" in given else expanded


def _digest(cert: Any) -> str | None:
    """Return the digest; None for what validation will refuse."""
    if not isinstance(cert, str) or len(cert) > MOST_PEM_CHARACTERS:
        return None
    try:
        return parse_chain(cert)[0].fingerprint(SHA256()).hex()
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class IsOneCa:
    """The text is one certificate, of a CA, and not expired."""

    reads: tuple[str] = ("cert",)

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield at most one text for the entity."""
        cert = values["cert"]
        if cert is not None and (problem := _problem(*parse_chain(cert))) is not None:
            yield ENTITY, problem


def _problem(certificate: x509.Certificate, *further: x509.Certificate) -> str | None:
    if further:
        return "please submit only one certificate at a time"
    if certificate.not_valid_after_utc < datetime.now(UTC):
        return 'certificate expired, "Not After" time is in the past'
    if not _is_ca(certificate):
        return (
            'certificate does not appear to be a CA because it is missing the "CA" basic constraint'
        )
    return None


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
    return constraints.value.ca


CA_CERTIFICATES = EntityType(
    CaCertificate,
    table="ca_certificates",
    singular="ca_certificate",
    endpoint_key=None,
    checks=(IsOneCa(),),
)

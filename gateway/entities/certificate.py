"""Certificate: what is shown to a peer in TLS, with its private key. Sheet: entities.md, 3.7."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import Field

from gateway.entities.checks import Finding, MutuallyRequired, Values
from gateway.entities.entity import Elsewhere, Given, Operation, Secret, UpdatedEntity
from gateway.entities.entity_type import EntityType
from gateway.entities.errors import ENTITY, violation
from gateway.entities.pem import CertificatePem, PrivateKeyPem, is_pair, parse_chain, public_key_of
from gateway.entities.rules import AtMost, Satisfies
from gateway.entities.types import WildcardHost

_LEAST_RSA_BITS, _LEAST_EC_BITS = 1963, 224
"""From where on OpenSSL takes keys for as strong as 112 bits."""

MOST_NAMES = 1000
"""Names written with a certificate: each is a row, and all other writers wait meanwhile."""


def _none_twice(names: list[str]) -> list[str]:
    for name, number in Counter(names).items():
        if number > 1:
            raise violation(f"{name} is duplicated")
    return names


def _long_enough(pem: str) -> str:
    """Refuse keys that OpenSSL does not show at its security level 2, nor trusts above others."""
    for key in map(public_key_of, parse_chain(pem)):
        if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
            raise violation(f"a key of {key.key_size} bits is too short for TLS: use 2048 or more")
        if isinstance(key, EllipticCurvePublicKey) and key.key_size < _LEAST_EC_BITS:
            raise violation(f"a key of {key.key_size} bits is too short for TLS: use 256 or more")
    return pem


ShownPem = Annotated[CertificatePem, Satisfies(_long_enough)]

Names = Annotated[list[WildcardHost], AtMost(MOST_NAMES), Satisfies(_none_twice)]


class Certificate(UpdatedEntity):
    """What is shown to a peer in TLS, with its private key."""

    cert: ShownPem = Field(description="Certificate chain in PEM, the leaf first.")
    key: Annotated[PrivateKeyPem, Secret()] = Field(description="Private key of the leaf in PEM.")
    cert_alt: ShownPem | None = Field(
        default=None, description="Certificate chain for a key of another type, as ECDSA to RSA."
    )
    key_alt: Annotated[PrivateKeyPem | None, Secret()] = Field(
        default=None, description="Private key of the alternative certificate."
    )
    snis: Annotated[Names | None, Elsewhere()] = Field(
        default=None, description="Server names that the certificate is shown for."
    )

    @classmethod
    def expand(cls, given: Given, operation: Operation) -> Given:
        """Take a single name for a list of one, where the entity may be there already."""
        if operation != "create" and isinstance(given.get("snis"), str):
            return given | {"snis": [given["snis"]]}
        return given


@dataclass(frozen=True, slots=True)
class KeyFits:
    """The private key is the one that the certificate is for."""

    cert: str
    key: str
    text: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields the check looks at."""
        return (self.cert, self.key)

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield at most one text for the entity."""
        cert, key = values[self.cert], values[self.key]
        if cert is not None and key is not None and not is_pair(cert, key):
            yield ENTITY, self.text


@dataclass(frozen=True, slots=True)
class KeyTypesDiffer:
    """The two certificates are for keys of different types."""

    reads: tuple[str, str]

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield at most one text for the entity."""
        chains = [parse_chain(values[name]) for name in self.reads if values[name] is not None]
        kinds = {type(chain[0].public_key()) for chain in chains}
        if len(kinds) < len(chains):
            yield (
                ENTITY,
                "certificate and alternative certificate need to have different type (e.g. RSA "
                "and ECDSA), the provided certificates were both of the same type",
            )


CERTIFICATES = EntityType(
    Certificate,
    table="certificates",
    singular="certificate",
    endpoint_key=None,
    checks=(
        MutuallyRequired(("cert_alt", "key_alt")),
        KeyFits("cert", "key", "certificate does not match key"),
        KeyFits("cert_alt", "key_alt", "alternative certificate does not match key"),
        KeyTypesDiffer(("cert", "cert_alt")),
    ),
)

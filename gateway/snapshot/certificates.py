"""Rows of certificates, their server names and CA certificates, compiled for TLS.

The PEM texts are kept as they are: a TLS context is made of them where one is needed. Each row is
tried here (some 0.1 ms), so that one that no context could be made of is named as bad at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from gateway.entities.pem import is_pair, parse_chain

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class KeyPair:
    """A certificate chain, the leaf first, with the private key of the leaf."""

    cert_pem: str
    key_pem: str

    def __repr__(self) -> str:
        return "KeyPair(...)"  # a key must not get into a log


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What is shown to a peer: one pair, or two with keys of different types."""

    id: UUID
    pairs: tuple[KeyPair, ...]


def compile_certificate(row: Row) -> Certificate:
    """Compile a row of ``certificates``. Raises ValueError."""
    pairs = [_pair(row, "cert", "key")]
    if row["cert_alt"] is not None or row["key_alt"] is not None:
        pairs.append(_pair(row, "cert_alt", "key_alt"))
    return Certificate(row["id"], tuple(pairs))


def compile_sni(row: Row) -> tuple[str, UUID]:
    """Return the name in a row of ``snis`` and the certificate it is for. Raises ValueError."""
    return _text(row, "name"), row["certificate_id"]


def compile_ca_certificate(row: Row) -> str:
    """Return the PEM text in a row of ``ca_certificates``. Raises ValueError."""
    pem = _text(row, "cert")
    parse_chain(pem)
    return pem


def _pair(row: Row, cert: str, key: str) -> KeyPair:
    pair = KeyPair(_text(row, cert), _text(row, key))
    if not is_pair(pair.cert_pem, pair.key_pem):
        raise ValueError(f"{cert} does not match {key}")
    return pair


def _text(row: Row, column: str) -> str:
    text = row[column]
    if not isinstance(text, str):
        raise ValueError(f"{column} is not a text")  # noqa: TRY004 - a value
    return text

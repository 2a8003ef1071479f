"""Service: something behind the gateway that requests are sent to. Sheet: entities.md, 3.1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from gateway.entities.checks import Conditional, Is, IsNot, IsNull
from gateway.entities.entity import ForeignKey, Given, Operation, Reference, Unique, UpdatedEntity
from gateway.entities.entity_type import EntityType
from gateway.entities.errors import SchemaViolationError
from gateway.entities.rules import Between
from gateway.entities.types import (
    HostText,
    Path,
    PortNumber,
    Protocol,
    Utf8Name,
    UuidText,
    WholeNumber,
)

Timeout = Annotated[WholeNumber, Between(1, 2_147_483_646)]

_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?"
    r"(?://(?:[^/?#]*@)?(?P<host>\[[^\]/?#]*\]|[^/?#:]*)(?::(?P<port>[^/?#]*))?)?"
    r"(?P<path>[^?#]*)",
)
_SCHEME_PORTS = {"http": 80, "https": 443}


class Service(UpdatedEntity):
    """Something behind the gateway that requests are sent to."""

    shorthands: ClassVar[Mapping[str, str]] = {
        "url": "Protocol, host, port and path in one, in place of what is given for them."
    }

    name: Annotated[Utf8Name | None, Unique()] = Field(
        default=None, description="Name, usable in URLs."
    )
    protocol: Protocol = Field(default="http", description="Protocol spoken to the service.")
    host: HostText = Field(description="Host name or address, or the name of an upstream.")
    port: PortNumber = Field(default=80, description="Port of the service.")
    path: Path | None = Field(default=None, description="Path put before the request's path.")
    retries: Annotated[WholeNumber, Between(0, 32_767)] | None = Field(
        default=5, description="Further tries after a failed one."
    )
    connect_timeout: Timeout | None = Field(
        default=60_000, description="Milliseconds to open a connection."
    )
    write_timeout: Timeout | None = Field(
        default=60_000, description="Most milliseconds between two writes to the service."
    )
    read_timeout: Timeout | None = Field(
        default=60_000, description="Most milliseconds between two reads from the service."
    )
    client_certificate: Annotated[
        Reference | None, ForeignKey("certificates", unique_fields=())
    ] = Field(default=None, description="Certificate shown to the service.")
    tls_verify: bool | None = Field(
        default=None,
        description="Whether the service's certificate is verified; null: the node decides.",
    )
    tls_verify_depth: Annotated[WholeNumber, Between(0, 64)] | None = Field(
        default=None, description="Longest certificate chain accepted; null: the node decides."
    )
    ca_certificates: list[UuidText] | None = Field(
        default=None, description="CA certificates the service's certificate is verified against."
    )
    enabled: bool = Field(default=True, description="Whether the service's routes are served.")

    @classmethod
    def expand(cls, given: Given, operation: Operation) -> Given:
        """Replace ``url`` by protocol, host, port and path."""
        del operation
        given = dict(given)
        url = given.pop("url", None)
        if url is None:
            return given
        if not isinstance(url, str):
            raise SchemaViolationError({"url": "expected a string"})
        if not url:
            raise SchemaViolationError({"url": "length must be at least 1"})
        return given | _url_fields(url)


def _url_fields(url: str) -> Given:
    """Return the fields a URL stands for; what it lacks is left for validation to refuse."""
    parts = _URL.match(url)
    assert parts is not None  # noqa: S101 - every part of the pattern may be empty
    port = _port(parts["port"], parts["scheme"])
    protocol = parts["scheme"] or ("https" if port == 443 else "http")
    fields = {"protocol": protocol, "port": port, "path": parts["path"] or None}
    return fields | {"host": parts["host"].strip("[]") if parts["host"] else None}


def _port(text: str | None, scheme: str | None) -> Any:
    if not text:
        return _SCHEME_PORTS.get(scheme or "", 80)
    return int(text) if re.fullmatch("[0-9]{1,10}", text) else text


SERVICES = EntityType(
    Service,
    table="services",
    singular="service",
    endpoint_key="name",
    checks=(
        Conditional("protocol", Is(("tcp", "tls", "udp", "grpc", "grpcs")), "path", IsNull()),
        Conditional("protocol", IsNot(("https", "tls")), "client_certificate", IsNull()),
        Conditional("protocol", IsNot(("https", "tls")), "tls_verify", IsNull()),
        Conditional("protocol", IsNot(("https", "tls")), "tls_verify_depth", IsNull()),
        Conditional("protocol", IsNot(("https", "tls")), "ca_certificates", IsNull()),
    ),
)

"""Route: which requests go to which service. Sheet: entities.md, 3.2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.entities.checks import Check, Finding, Values, is_empty, quoted
from gateway.entities.entity import (
    ForeignKey,
    Given,
    Operation,
    Record,
    Reference,
    Unique,
    UpdatedEntity,
)
from gateway.entities.entity_type import EntityType
from gateway.entities.errors import ENTITY, violation
from gateway.entities.rules import (
    AtLeast,
    FromOneFamily,
    OneOf,
    Satisfies,
    Unrepeated,
    Without,
)
from gateway.entities.types import (
    AddressOrNetwork,
    HeaderValues,
    HttpMethod,
    Integer,
    PortNumber,
    Protocol,
    Text,
    Utf8Name,
    WholeNumber,
    WildcardHost,
    check_escapes,
    check_host_with_optional_port,
)
from gateway.routing.paths import normalize
from gateway.routing.patterns import check_pattern

REGEX_PATH = "~"
REGEX_HEADER = "~*"

# -- field types of routes


def check_regex(pattern: str) -> str:
    """Return ``pattern`` if nodes can match it: in linear time, bounded in size.

    Raises a violation.
    """
    try:
        check_pattern(pattern)
    except ValueError as error:
        raise violation(f"invalid regex: '{pattern}' ({error})") from None
    return pattern


def _must_start_as_path(value: str) -> str:
    if not value.startswith(("/", REGEX_PATH + "/")):
        raise violation("should start with: / (fixed path) or ~/ (regex path)")
    return value


def _must_be_normal_or_regex(value: str) -> str:
    if value.startswith(REGEX_PATH):
        check_regex(value.removeprefix(REGEX_PATH))
        return value
    try:
        normal = normalize(value.encode()).decode()
    except UnicodeDecodeError:
        raise violation(
            f"invalid path: '{value}' (it stands for bytes that are no UTF-8)"
        ) from None
    if value != normal:
        raise violation(f"non-normalized path, consider use '{normal}' instead")
    return value


def _wildcard_host(value: str) -> str:
    if value.count("*") > 1:
        raise violation("invalid wildcard: must have at most one wildcard")
    before, star, after = value.partition("*")
    leftmost = not before and after.startswith(".")
    rightmost = before.endswith(".") and (not after or after.startswith(":"))
    if star and not (leftmost or rightmost):
        raise violation("invalid wildcard: must be placed at leftmost or rightmost label")
    check_host_with_optional_port(value.replace("*", "wildcard"))
    return value


RoutePath = Annotated[
    Text,
    Satisfies(_must_start_as_path),
    Without("//", "must not have empty segments"),
    Satisfies(check_escapes),
    Satisfies(_must_be_normal_or_regex),
]
RouteHost = Annotated[Text, Satisfies(_wildcard_host)]


def _header_regexes_compile(headers: dict[str, list[str]]) -> dict[str, list[str]]:
    for values in headers.values():
        for value in values:
            if value.startswith(REGEX_HEADER):
                check_regex(value.removeprefix(REGEX_HEADER))
    return headers


class Address(Record):
    """One side of a stream connection; the address, the port, or both."""

    ip: AddressOrNetwork | None = Field(default=None, description="Address or network.")
    port: PortNumber | None = Field(default=None, description="Port.")

    @model_validator(mode="after")
    def _has_at_least_one(self) -> Self:
        if self.ip is None and self.port is None:
            names = quoted(("ip", "port"))
            raise violation(f"at least one of these fields must be non-empty: {names}", at=ENTITY)
        return self


Addresses = Annotated[list[Address], Unrepeated()]

# -- checks by the route's protocols


@dataclass(frozen=True, slots=True)
class Forbids:
    """Routes whose first protocol is one of ``protocols`` may not set ``field``."""

    field: str
    protocols: tuple[str, ...]
    shown_as: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields the check looks at."""
        return ("protocols", self.field)

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield at most one text, for the field."""
        forbidden = values["protocols"][0] in self.protocols
        if forbidden and values[self.field] not in (None, False):
            yield self.field, f"cannot set '{self.field}' when 'protocols' is {self.shown_as}"


@dataclass(frozen=True, slots=True)
class NeedsOneOf:
    """Routes with one of ``protocols``, but not with ``unless``, must set one of ``fields``."""

    protocols: tuple[str, ...]
    fields: tuple[str, ...]
    text: str
    unless: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields the check looks at."""
        return ("protocols", *self.fields)

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield at most one text, for the entity."""
        if self._applies(values["protocols"]) and all(is_empty(values[f]) for f in self.fields):
            yield ENTITY, self.text

    def _applies(self, protocols: list[str]) -> bool:
        return self.unless not in protocols and not set(self.protocols).isdisjoint(protocols)


@dataclass(frozen=True, slots=True)
class SnisNeedTls:
    """Only a route with a protocol over TLS may set server names."""

    reads: tuple[str, ...] = ("protocols", "snis")

    def findings(self, values: Values) -> Iterator[Finding]:
        """Yield one text for the entity and one for the field."""
        if is_empty(values["snis"]) or not TLS_PROTOCOLS.isdisjoint(values["protocols"]):
            return
        yield (
            ENTITY,
            "'snis' can only be set when 'protocols' is "
            "'grpcs', 'https', 'tls' or 'tls_passthrough'",
        )
        yield "snis", "length must be 0"


TLS_PROTOCOLS = frozenset({"grpcs", "https", "tls", "tls_passthrough"})

_HTTP = ("http", "https")
_GRPC = ("grpc", "grpcs")
_STREAM = ("tcp", "tls", "udp")
_OVER_HTTP = ("methods", "hosts", "headers", "paths")
_OVER_GRPC = ("hosts", "headers", "paths")
_OVER_STREAM = ("sources", "destinations", "snis")


def _forbids(fields: tuple[str, ...], protocols: tuple[str, ...], shown_as: str) -> list[Check]:
    return [Forbids(field, protocols, shown_as) for field in fields]


def _needs(
    protocols: tuple[str, ...], fields: tuple[str, ...], shown_as: str, unless: str | None = None
) -> NeedsOneOf:
    text = f"must set one of {quoted(fields)} when 'protocols' is {shown_as}"
    return NeedsOneOf(protocols, fields, text, unless)


class Route(UpdatedEntity):
    """Which requests go to which service."""

    name: Annotated[Utf8Name | None, Unique()] = Field(
        default=None, description="Name, usable in URLs."
    )
    protocols: Annotated[
        list[Protocol],
        Unrepeated(),
        AtLeast(1),
        FromOneFamily(_HTTP, _STREAM, ("tls_passthrough",), _GRPC),
    ] = Field(default=["http", "https"], description="Protocols the route takes requests of.")
    methods: Annotated[list[HttpMethod], Unrepeated()] | None = Field(
        default=None, description="Request methods, upper case."
    )
    hosts: list[RouteHost] | None = Field(
        default=None, description="Host names; `*.example.com` and `example.*` match any label."
    )
    paths: list[RoutePath] | None = Field(
        default=None, description="Path prefixes, or regular expressions after `~`."
    )
    headers: Annotated[HeaderValues, Satisfies(_header_regexes_compile)] | None = Field(
        default=None, description="Header names with the values they may have; `~*` begins a regex."
    )
    https_redirect_status_code: Annotated[WholeNumber, OneOf(426, 301, 302, 307, 308)] = Field(
        default=426, description="Answer to plain HTTP when only https is among the protocols."
    )
    regex_priority: Integer | None = Field(
        default=0, description="Which of several matching regex paths wins: the higher."
    )
    strip_path: bool = Field(
        default=True, description="Whether the matched prefix is taken off the path."
    )
    path_handling: Annotated[Text, OneOf("v0", "v1")] | None = Field(
        default="v0", description="How service path and request path are joined."
    )
    preserve_host: bool = Field(
        default=False, description="Whether the service sees the client's Host header."
    )
    request_buffering: bool = Field(
        default=True, description="Whether request bodies may be buffered."
    )
    response_buffering: bool = Field(
        default=True, description="Whether response bodies may be buffered."
    )
    snis: Annotated[list[WildcardHost], Unrepeated()] | None = Field(
        default=None, description="TLS server names."
    )
    sources: Addresses | None = Field(
        default=None, description="Where stream connections come from."
    )
    destinations: Addresses | None = Field(
        default=None, description="Where stream connections go to."
    )
    service: Annotated[Reference | None, ForeignKey("services")] = Field(
        default=None, description="The service the requests go to."
    )

    @classmethod
    def expand(cls, given: Given, operation: Operation) -> Given:
        """Let a new gRPC route keep its path: gRPC methods are paths."""
        protocols = given.get("protocols")
        is_grpc = isinstance(protocols, list) and any(p in protocols for p in _GRPC)
        if is_grpc and operation != "update":
            return {"strip_path": False} | given
        return given


ROUTES = EntityType(
    Route,
    table="routes",
    singular="route",
    endpoint_key="name",
    checks=(
        *_forbids(("sources", "destinations"), _HTTP, "'http' or 'https'"),
        *_forbids(("methods", "strip_path", "sources", "destinations"), _GRPC, "'grpc' or 'grpcs'"),
        *_forbids(
            _OVER_HTTP,
            (*_STREAM, "tls_passthrough"),
            "'tcp', 'tls', 'tls_passthrough' or 'udp'",
        ),
        _needs(("https",), (*_OVER_HTTP, "snis"), "'https'"),
        _needs(("http",), _OVER_HTTP, "'http'", unless="https"),
        _needs(("grpcs",), (*_OVER_GRPC, "snis"), "'grpcs'"),
        _needs(("grpc",), _OVER_GRPC, "'grpc'", unless="grpcs"),
        _needs(_STREAM, _OVER_STREAM, "'tcp', 'tls' or 'udp'"),
        NeedsOneOf(
            ("tls_passthrough",), ("snis",), "must set snis when 'protocols' is 'tls_passthrough'"
        ),
        SnisNeedTls(),
    ),
)

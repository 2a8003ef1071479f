"""The field types entities are declared with: a pydantic type and Kong's rules in one name.

Rules and texts: reference sheet entities.md, section 2. JSON is never coerced; only a whole
number written with decimals (``80.0``) counts as an integer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator

from gateway.entities.errors import violation
from gateway.entities.hosts import (
    Host,
    HostError,
    HostKind,
    PortError,
    is_address_or_network,
    parse_host,
)
from gateway.entities.rules import (
    AtLeast,
    Between,
    ErrorsAsOne,
    Matches,
    OneOf,
    Satisfies,
    StartsWith,
    Unrepeated,
    Without,
)

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_YEAR_9999 = 253_370_764_800
_NON_ASCII = r"[^\x00-\x7f]"


def parse_uuid(text: str) -> UUID | None:
    """Return the UUID that ``text`` is, in the one notation entities use, or ``None``."""
    return UUID(text) if _UUID.fullmatch(text) else None


# -- plain values


def _storable(value: str) -> str:
    if "\x00" in value:
        raise violation("must not contain the NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        position = error.start + 1
        text = f"invalid utf-8 character sequence detected at position {position}"
        raise violation(text) from None
    return value


def _uuid(value: Any) -> UUID:
    if not isinstance(value, str):
        raise violation("expected a string")
    if (uuid := parse_uuid(value)) is None:
        raise violation("expected a valid UUID")
    return uuid


def whole(value: Any) -> Any:
    """Return a float without decimals as an integer, anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _timestamp(value: Any) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise violation("expected a number")
    if not 0 < value < _YEAR_9999:
        raise violation("expected a valid timestamp")
    return datetime.fromtimestamp(value, UTC)


def _whole_timestamp(value: Any) -> Any:
    if isinstance(value, float) and not value.is_integer():
        raise violation("expected an integer")
    return value


Text = Annotated[str, Satisfies(_storable), AtLeast(1)]
Id = Annotated[UUID, BeforeValidator(_uuid)]


@dataclass(frozen=True, slots=True)
class IsUuid:
    """Marks a text that is a UUID."""


UuidText = Annotated[Text, AfterValidator(lambda value: str(_uuid(value))), IsUuid()]
WholeNumber = Annotated[int, BeforeValidator(whole)]
Integer = Annotated[WholeNumber, Between(-(2**63), 2**63 - 1)]
Number = Annotated[float, AfterValidator(whole)]


@dataclass(frozen=True, slots=True)
class Milliseconds:
    """Marks a timestamp that is written as seconds with milliseconds, not as whole seconds."""


Timestamp = Annotated[datetime, BeforeValidator(_timestamp), BeforeValidator(_whole_timestamp)]
PreciseTimestamp = Annotated[datetime, BeforeValidator(_timestamp), Milliseconds()]

PortNumber = Annotated[WholeNumber, Between(0, 65535)]

# -- names


Utf8Name = Annotated[
    Text,
    Matches(
        rf"([A-Za-z0-9._~-]|{_NON_ASCII})*",
        "invalid value '{value}': the only accepted ascii characters are "
        "alphanumerics or ., -, _, and ~",
    ),
]
Tag = Annotated[
    Text,
    Matches(
        rf"([ -+.\-0-~]|{_NON_ASCII})*",
        "invalid tag '{value}': expected printable ascii (except `,` and `/`) "
        "or valid utf-8 sequences",
    ),
]
Tags = Annotated[list[Tag], Unrepeated()]
PROTOCOLS = ("grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp")
Protocol = Annotated[Text, OneOf(*PROTOCOLS)]
HttpMethod = Annotated[Text, Matches(r"[A-Z]+")]
HeaderName = Annotated[
    Text,
    Matches(
        r"[A-Za-z0-9_-]+",
        "bad header name '{value}', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
    ),
]
CookieName = Annotated[
    Text,
    Matches(
        r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",
        "contains one or more invalid characters. ASCII control characters (0-31;127), space, "
        'tab and the characters ()<>@,;:\\"/?={}[] are not allowed.',
    ),
]

# -- paths


def check_escapes(value: str) -> str:
    """Return ``value`` if each ``%`` begins a percent triplet. Raises a violation."""
    if bad := _BAD_ESCAPE.search(value):
        raise violation(f"invalid url-encoded value: '{bad[0]}'")
    return value


Path = Annotated[
    Text,
    StartsWith("/"),
    Without("//", "must not have empty segments"),
    Matches(
        r"[A-Za-z0-9._~/%:@!$&'()*+,;=-]*",
        "invalid path: '{value}' (characters outside of the reserved list of RFC 3986 found)",
    ),
    Satisfies(check_escapes),
]

# -- hosts


def _host(value: str) -> str:
    if _parse(value).port is not None:
        raise violation("must not have a port")
    return value


def check_host_with_optional_port(value: str) -> str:
    """Return ``value`` if it is ``host[:port]``. Raises a violation."""
    try:
        parse_host(value)
    except HostError as error:
        raise violation(str(error)) from None
    return value


def _server_name(value: str) -> str:
    _check_server_name(_parse(value))
    return value


def _wildcard_host(value: str) -> str:
    if "*" in value[1:-1]:
        raise violation("wildcard must be leftmost or rightmost character")
    if value.count("*") > 1:
        raise violation("only one wildcard must be specified")
    _check_server_name(_parse(value.replace("*", "wildcard"), shown_as=value))
    return value


def _parse(value: str, *, shown_as: str | None = None) -> Host:
    try:
        return parse_host(value)
    except PortError:
        raise violation("must not have a port") from None
    except HostError:
        raise violation(f"invalid value: {shown_as or value}") from None


def _check_server_name(host: Host) -> None:
    if host.kind is not HostKind.NAME:
        raise violation("must not be an IP")
    if host.port is not None:
        raise violation("must not have a port")


def _address_or_network(value: str) -> str:
    if not is_address_or_network(value):
        raise violation(f"invalid ip or cidr range: '{value}'")
    return value


HostText = Annotated[Text, Satisfies(_host)]
HostWithOptionalPort = Annotated[Text, Satisfies(check_host_with_optional_port)]
ServerName = Annotated[Text, Satisfies(_server_name)]
WildcardHost = Annotated[Text, Satisfies(_wildcard_host)]
AddressOrNetwork = Annotated[Text, Satisfies(_address_or_network)]

# -- maps


def _not_host(value: str) -> str:
    if value.lower() == "host":
        raise violation(
            "cannot contain 'host' header, which must be specified in the 'hosts' attribute"
        )
    return value


HeaderValues = Annotated[
    dict[Annotated[HeaderName, Satisfies(_not_host)], list[Text]], ErrorsAsOne()
]
Headers = Annotated[dict[HeaderName, list[Text]], ErrorsAsOne()]

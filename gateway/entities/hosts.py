"""Host names and addresses as entities hold them: what is one, which kind, with which port.

Syntax and classification: reference sheet entities.md, section 2 (hostname syntax).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv6Address, ip_address

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+")
_PORT_SUFFIX = re.compile(r":([0-9]+)\Z")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::([0-9]+))?")
_DECIMAL = re.compile(r"[0-9]{1,3}")


class HostKind(StrEnum):
    """What a host text denotes."""

    NAME = "name"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


class HostError(ValueError):
    """The text is no host; ``str()`` tells why, in Kong's words."""


class PortError(HostError):
    """The host is followed by something that is no port."""

    def __init__(self) -> None:
        super().__init__("invalid port number")


@dataclass(frozen=True, slots=True)
class Host:
    """A parsed ``host[:port]``.

    ``host`` is as it was written for names, without leading zeros for IPv4, and eight groups of
    four lower-case hex digits (no brackets) for IPv6.
    """

    kind: HostKind
    host: str
    port: int | None

    def with_port(self, default: int) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if self.kind is HostKind.IPV6 else self.host
        return f"{host}:{default if self.port is None else self.port}"


def parse_host(text: str) -> Host:
    """Parse ``host[:port]``; an IPv6 address with a port must be in brackets. Raises HostError."""
    if text.count(":") > 1:
        return _parse_ipv6(text)
    if _DIGITS_AND_DOTS.fullmatch(text.replace(":", "")):
        return _parse_ipv4(text)
    return _parse_name(text)


def is_address_or_network(text: str) -> bool:
    """Tell whether ``text`` is an IPv4 or IPv6 address, with or without ``/prefix``."""
    address, slash, prefix = text.partition("/")
    try:
        longest = ip_address(address).max_prefixlen
    except ValueError:
        return False
    if "%" in address:
        return False
    return not slash or (_DECIMAL.fullmatch(prefix) is not None and int(prefix) <= longest)


def _parse_ipv6(text: str) -> Host:
    bracketed = _BRACKETED.fullmatch(text)
    address, port = bracketed.groups() if bracketed else (text, None)
    try:
        parsed = IPv6Address(address)
    except AddressValueError:
        raise HostError(f"invalid ipv6 address: {text}") from None
    if parsed.scope_id is not None:
        raise HostError(f"invalid ipv6 address: {text}")
    return Host(HostKind.IPV6, parsed.exploded, _port(port))


def _parse_ipv4(text: str) -> Host:
    address, colon, port = text.partition(":")
    octets = address.split(".")
    if len(octets) != 4 or not all(_DECIMAL.fullmatch(o) and int(o) <= 255 for o in octets):
        raise HostError(f"invalid ipv4 address: {text}")
    return Host(
        HostKind.IPV4, ".".join(str(int(o)) for o in octets), _port(port if colon else None)
    )


def _parse_name(text: str) -> Host:
    suffix = _PORT_SUFFIX.search(text)
    name = text[: suffix.start()] if suffix else text
    if not _is_name(name):
        raise HostError(f"invalid hostname: {text}")
    return Host(HostKind.NAME, name, _port(suffix[1] if suffix else None))


def _is_name(name: str) -> bool:
    if not _NAME.fullmatch(name):
        return False
    labels = name.removesuffix(".").split(".")
    return all(label and not label.endswith("-") for label in labels)


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not text or len(text) > 5 or int(text) > 65535:
        raise PortError
    return int(text)

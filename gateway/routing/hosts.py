"""Hosts: the text a route is filed under, and the texts a request's Host is looked up by.

Source: ``router.md`` section 2.1. Hosts are compared byte by byte, case included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ANY_HOST = b""
"""Routes without hosts are filed here."""

_LONGEST_NAME = 255  # RFC 1035 section 2.3.4; bounds the look-ups that one request can cause
_WITH_PORT = re.compile(rb"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*):([0-9]+)")
_WILDCARD = re.compile(rb"\*\.[^*]+|[^*]+\.\*(:[0-9]+)?")


def check_host(host: bytes) -> None:
    """Raise ValueError unless a ``*`` is the whole leftmost or the whole rightmost label."""
    if b"*" in host and _WILDCARD.fullmatch(host) is None:
        raise ValueError(f"host '{host.decode()}' may have one wildcard, as first or last label")


def split_port(host: bytes) -> tuple[bytes, bytes | None]:
    """Return name and port digits of ``host``; the brackets of an IPv6 address are taken off."""
    found = _WITH_PORT.fullmatch(host)
    name, port = (found[1], found[2]) if found else (host, None)
    if name.startswith(b"[") and name.endswith(b"]"):
        name = name[1:-1]
    return name, port


def is_wildcard(host: bytes) -> bool:
    """Tell whether a configured host holds a ``*``."""
    return b"*" in host


def is_port_specific(host: bytes) -> bool:
    """Tell whether a configured host is plain and matches one port only."""
    return b":" in host and not is_wildcard(host) and split_port(host)[1] is not None


def texts_of_wildcard(host: bytes) -> tuple[bytes, ...]:
    """Return the texts to file a host under if its ``*`` may stand for nothing at all.

    That is what flavor ``traditional_compatible`` takes a wildcard for.
    """
    return (host, host.replace(b"*", b"")) if is_wildcard(host) else (host,)


def with_port(host: bytes, default: int) -> bytes:
    """Return a request's Host with its port, the listener's if it has none."""
    if not host:
        return host
    name, port = split_port(host)
    if port is not None:
        return host
    return (b"[%b]:%d" if b":" in name else b"%b:%d") % (name, default)


def plain_texts(host: bytes) -> tuple[bytes, ...]:
    """Return the configured plain hosts that match a request's Host: itself, itself less port."""
    if b":" not in host:
        return (host,)
    name, _ = split_port(host)
    return (host,) if name == host else (host, name)


def wildcard_texts(host: bytes, *, tls: bool) -> Iterator[bytes]:
    """Yield the configured wildcard hosts that would match a request's Host.

    Wildcards with a port see a Host without one as naming the scheme's default port.
    """
    name, port = split_port(host)
    if len(name) > _LONGEST_NAME:
        return
    port_suffix = b":" + (port or (b"443" if tls else b"80"))
    dot = name.find(b".")
    while dot != -1:
        if dot > 0:
            yield b"*" + name[dot:]
            yield b"*" + name[dot:] + port_suffix
        if dot < len(name) - 1:
            yield name[: dot + 1] + b"*"
            yield name[: dot + 1] + b"*" + port_suffix
        dot = name.find(b".", dot + 1)

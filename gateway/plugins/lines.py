"""Header lines as bytes, each led by CRLF: found, taken out and added without being taken apart.

A message's lines stay one text from socket to socket. Names are matched whatever their case.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


_FRAMING = frozenset(
    {
        *("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)
"""Headers that say how a message is framed, which is the proxy's business alone."""


class LineError(ValueError):
    """A name or value that cannot stand in a header."""


class HeaderLines:
    """The header lines of a message, each led by CRLF, as plugins edit them."""

    __slots__ = ("lines",)

    lines: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        values = values_of(self.lines, name)
        return values[0] if values else None

    def headers(self, name: str) -> list[str]:
        """Return all values of a header."""
        return values_of(self.lines, name)

    def set_header(self, name: str, value: str) -> None:
        """Give a header this value and no other. Raises LineError for one that cannot be set."""
        self.lines = without(self.lines, name) + line(checked_name(name), value)

    def add_header(self, name: str, value: str) -> None:
        """Add a value to those that a header has. Raises LineError for one that cannot be set."""
        self.lines += line(checked_name(name), value)

    def remove_header(self, name: str) -> None:
        """Take a header out."""
        self.lines = without(self.lines, name)


def checked_name(name: str) -> str:
    """Return the name of a header that may be set. Raises LineError."""
    if name.lower() in _FRAMING:
        raise LineError(f"{name} is written by the proxy only")
    return name


def values_of(lines: bytes, name: str) -> list[str]:
    """Return the values of a header, in their order."""
    return [value.decode("latin-1").rstrip(" \t") for value in _values(name).findall(lines)]


def contains(lines: bytes, name: str) -> bool:
    """Tell whether there is a line with this name."""
    return _values(name).search(lines) is not None


def without(lines: bytes, *names: str) -> bytes:
    """Return the lines but for those of some headers."""
    return removal(names).sub(b"", lines)


def line(name: str, value: str) -> bytes:
    """Return a header line. Raises LineError for what would break it."""
    raw_name, raw_value = name.encode(), value.encode()
    if _TOKEN.fullmatch(raw_name) is None:
        raise LineError(f"{name!r} is no name of a header")
    if _VALUE.fullmatch(raw_value) is None:
        raise LineError(f"the value of header {name} has control characters")
    return b"\r\n" + raw_name + b": " + raw_value.strip(b" \t")


@lru_cache(4096)
def removal(names: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return a pattern of all lines with these names."""
    either = b"|".join(re.escape(name.encode()) for name in names)
    return re.compile(rb"(?i)\r\n(?:" + either + rb"):[^\r]*+")


@lru_cache(4096)
def _values(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?i)\r\n" + re.escape(name.encode()) + rb":[ \t]*+([^\r]*+)")

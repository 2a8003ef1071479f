"""Header lines as bytes, each led by CRLF: found, taken out and added without being taken apart.

A message's lines stay one text from socket to socket. Names are matched whatever their case.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


class LineError(ValueError):
    """A name or value that cannot stand in a header."""


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

"""Header lines, and the arguments of a query, as fields to be edited."""

from __future__ import annotations

from urllib.parse import quote

from gateway.plugins.identity import one_line
from gateway.plugins.lines import contains, values_of, without
from gateway.plugins.request import MOST_ARGUMENTS, Upstream
from gateway.plugins.transformers.templates import decoded, from_bytes


class Headers:
    """Header lines; values are bytes that can stand in one, see `sendable`."""

    renames_first = False

    def __init__(self, lines: bytes) -> None:
        self.lines = lines

    def has(self, name: str) -> bool:
        """Tell whether there is such a header."""
        return contains(self.lines, name)

    def remove(self, name: str) -> None:
        """Take a header out."""
        self.lines = without(self.lines, name)

    def rename(self, old: str, new: str) -> None:
        """Give the values of a header to another."""
        values = values_of(self.lines, old)
        self.lines = without(self.lines, old, new)
        for value in values:
            self.append(new, value.encode("latin-1"))

    def put(self, name: str, value: bytes) -> None:
        """Give a header this value and no other."""
        self.lines = without(self.lines, name)
        self.append(name, value)

    def append(self, name: str, value: bytes) -> None:
        """Add a line."""
        self.lines += b"\r\n%b: %b" % (name.encode(), value)


class RequestHeaders(Headers):
    """Those of a request on its way; ``Host`` is always there, and has one value."""

    def __init__(self, upstream: Upstream, host: bytes) -> None:
        super().__init__(upstream.lines)
        self._upstream = upstream
        self._host = host

    def has(self, name: str) -> bool:
        """Tell whether there is such a header."""
        return name.lower() == "host" or super().has(name)

    def rename(self, old: str, new: str) -> None:
        """Give the values of a header to another; the host only leaves a copy."""
        if old.lower() == "host":
            self.put(new, self._host)
        elif new.lower() == "host":
            self.put(new, values_of(self.lines, old)[0].encode("latin-1"))
            self.remove(old)
        else:
            super().rename(old, new)

    def append(self, name: str, value: bytes) -> None:
        """Add a line, or set the host."""
        if name.lower() == "host":
            self._upstream.host = value
        else:
            super().append(name, value)


def sendable(value: str) -> bytes:
    """Return a value as a header can carry it: control characters are percent-encoded."""
    return one_line(value).encode(errors="surrogateescape")


class Arguments:
    """The arguments of a query; those beyond a thousand are lost. None stands for no value."""

    renames_first = False

    def __init__(self, query: bytes) -> None:
        self._found: dict[str, list[str | None]] = {}
        self.take(query[1:])

    def take(self, encoded: bytes) -> None:
        """Take further ones, as a query or a form has them."""
        for part in from_bytes(encoded).split("&", MOST_ARGUMENTS)[:MOST_ARGUMENTS]:
            name, sign, value = part.partition("=")
            if part:
                text = decoded(value) if sign else None
                self._found.setdefault(decoded(name), []).append(text)

    def has(self, name: str) -> bool:
        """Tell whether there is such an argument."""
        return name in self._found

    def remove(self, name: str) -> None:
        """Take an argument out."""
        self._found.pop(name, None)

    def rename(self, old: str, new: str) -> None:
        """Give the values of an argument to another."""
        self._found[new] = self._found.pop(old)

    def put(self, name: str, value: str) -> None:
        """Give an argument this value and no other."""
        self._found[name] = [value]

    def append(self, name: str, value: str) -> None:
        """Give an argument one more value."""
        self._found.setdefault(name, []).append(value)

    def query(self) -> bytes:
        """Return the query, sorted by argument, with its ``?`` unless it is empty."""
        parts = [
            _quoted(name) if value is None else f"{_quoted(name)}={_quoted(value)}"
            for name, values in sorted(self._found.items())
            for value in values
        ]
        return b"?" + "&".join(parts).encode() if parts else b""


def _quoted(text: str) -> str:
    if text.isascii() and text.isalnum():
        return text
    return quote(text, safe="", errors="surrogateescape")

"""The head of a response as plugins see it, before it goes to the client."""

from __future__ import annotations

from gateway.plugins.lines import line, values_of, without
from gateway.plugins.request import checked_name


class Response:
    """A response's status and header lines, each led by CRLF; framing is not among them.

    ``from_upstream`` tells a service's own from the gateway's.
    """

    __slots__ = ("from_upstream", "lines", "status")

    def __init__(self, status: int, lines: bytes, *, from_upstream: bool) -> None:
        self.status = status
        self.lines = lines
        self.from_upstream = from_upstream

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

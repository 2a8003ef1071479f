"""The head of a response as plugins see it, before it goes to the client."""

from __future__ import annotations

from gateway.plugins.lines import HeaderLines


class Response(HeaderLines):
    """A response's status and header lines; framing is not among them.

    ``from_upstream`` tells a service's own from the gateway's.
    """

    __slots__ = ("from_upstream", "status")

    def __init__(self, status: int, lines: bytes, *, from_upstream: bool) -> None:
        self.lines = lines
        self.status = status
        self.from_upstream = from_upstream

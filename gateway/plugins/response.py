"""The head of a response as plugins see it, before it goes to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.plugins.lines import HeaderLines

if TYPE_CHECKING:
    from gateway.proxy.http1 import ResponseHead


class Watcher(Protocol):
    """Who sees the body of a response as the service sends it, before any plugin changes it."""

    def take(self, data: bytes, ended: bool) -> None:
        """See more of it, and whether that is the end."""
        ...

    def drop(self) -> None:
        """Hear that the exchange is over, whether or not the end of the body has come."""
        ...


class Response(HeaderLines):
    """A response's status and header lines; framing is not among them.

    ``original`` is the head as the service sent it, None for an answer of the gateway's.
    """

    __slots__ = ("drops_body", "original", "status", "watcher")

    def __init__(self, status: int, lines: bytes, original: ResponseHead | None = None) -> None:
        self.lines = lines
        self.status = status
        self.original = original
        self.watcher: Watcher | None = None
        self.drops_body = False

    @property
    def from_upstream(self) -> bool:
        """Whether it is a service's own, or the gateway's."""
        return self.original is not None

    def watch(self, watcher: Watcher) -> None:
        """Have the body of a service's response shown to somebody, from its beginning."""
        self.watcher = watcher

    def drop_body(self) -> None:
        """Send no body; the service's is not waited for."""
        self.drops_body = True

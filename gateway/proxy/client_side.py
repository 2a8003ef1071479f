"""The client's side of an exchange, whatever protocol it speaks."""

from __future__ import annotations

from typing import Protocol

from gateway.access_log import TlsFacts
from gateway.plugins.request import Connection
from gateway.proxy.client import Client, Peer
from gateway.proxy.tunnel import Tunnelled


class Downstream(Tunnelled, Protocol):
    """The client's side of an exchange."""

    sent_head: bytes
    """The head of the current response, kept while there is an access log."""

    def begin_response(
        self,
        status_text: bytes,
        lines: bytes,
        body_length: int,
        pieces: list[bytes],
        *,
        ended: bool,
    ) -> int:
        """Send a response head of ready header ``lines``, and body pieces; return bytes sent."""
        ...

    def continue_response(self, pieces: list[bytes], *, ended: bool) -> int:
        """Send more of the body; return bytes sent."""
        ...

    def send_interim(self, status_text: bytes, lines: bytes) -> int:
        """Send the head of a 1xx response, if the client knows such; return bytes sent."""
        ...

    def cut_response(self) -> None:
        """Break the response off so that the client notices."""
        ...

    def end_exchange(self) -> None:
        """Go on to the next request."""
        ...

    def read_body(self, min_bytes_s: int) -> None:
        """Let the request body come for the first time, and tell a client that waits for it.

        One that comes slower than ``min_bytes_s`` on average is given up; 0 means no limit.
        """
        ...

    def pause_body(self) -> None:
        """Hold the request body back."""
        ...

    def resume_body(self) -> None:
        """Let more of the request body come."""
        ...

    @property
    def forwarded_lines(self) -> bytes:
        """Header lines about the client that every request of this connection carries upstream."""
        ...

    @property
    def tls_facts(self) -> TlsFacts | None:
        """How the connection is secured, None if it is not."""
        ...

    @property
    def connection(self) -> Connection:
        """Which connection it is, and which request of it this."""
        ...

    @property
    def client(self) -> Client:
        """Whom requests are from that do not say otherwise."""
        ...

    @property
    def peer(self) -> Peer:
        """Who is connected."""
        ...

"""What there is to tell of a request that is over (proxying.md section 15)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from gateway.snapshot import Route, Service


class Try(NamedTuple):
    """One try to have a request answered by a target.

    ``started_at`` is in seconds since the epoch, ``address`` the host of a target that was given by
    name. ``status`` is what a failed try stands for, 0 of one that was answered.
    """

    started_at: float
    address: str
    port: int
    status: int


class TlsFacts(NamedTuple):
    """How a client's connection is secured."""

    version: str
    cipher: str
    server_name: bytes | None


class Record(NamedTuple):
    """A request and how it went. Texts are raw bytes as they came.

    Of a request that could not be read, only what is known is given: its first line is in
    ``target`` unless it was whole.
    """

    started_at: float  # seconds since the epoch
    client: bytes  # address
    request_id: bytes
    status: int
    response_bytes: int  # that were sent, head and all
    response_head: bytes = b""  # empty if none was sent
    method: bytes = b""
    target: bytes = b""
    version: bytes = b""
    request_lines: bytes = b""  # headers, each led by CRLF
    request_bytes: int = 0
    origin: bytes = b""  # scheme://host:port
    tls: TlsFacts | None = None
    route: Route | None = None
    service: Service | None = None
    upstream_uri: bytes = b""
    from_upstream: bool = False
    tries: Sequence[Try] = ()
    total_ms: float = 0
    own_ms: float = 0  # until the last target was chosen, or to our answer
    upstream_ms: float = -1  # for its response head; -1 if no target was chosen
    receive_ms: float = 0  # for the response body

    @property
    def request_line(self) -> bytes:
        """The request's first line as far as it is known."""
        return b" ".join(filter(None, (self.method, self.target, self.version)))

    @property
    def body_bytes(self) -> int:
        """Bytes sent of the response body."""
        return self.response_bytes - len(self.response_head)


def unread_request(
    client: bytes,
    request_id: bytes,
    status: int,
    sent: tuple[bytes, bytes],
    received: bytes,
) -> Record:
    """Return the record of a request that could not be read, and was answered by us.

    :param sent: head and body of the answer.
    :param received: what came of the request.
    """
    line = received.partition(b"\r\n")[0][:_SHOWN_BYTES]
    words = line.split(b" ")
    method, target, version = words if len(words) == 3 else (b"", line, b"")
    head, body = sent
    return Record(
        time.time(),
        client,
        request_id,
        status,
        len(head) + len(body),
        head,
        method,
        target,
        version,
        request_bytes=len(received),
    )


_SHOWN_BYTES = 1024
"""How much of a first line is told that may be anything."""

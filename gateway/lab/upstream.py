"""What the lab's routes lead to: a small server that answers with the path it was asked for."""

from __future__ import annotations

import asyncio
import re
from typing import Self, cast

_CONTENT_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)\r\n", re.IGNORECASE)


class EchoUpstream:
    """Answers each request with its path, on kept-alive connections; ``requests`` counts them.

    Port 0 means a free one. Request bodies need a Content-Length.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests = 0
        self.port = port
        self._host = host
        self._connections: set[asyncio.BaseTransport] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, self._connections), self._host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.close()

    @property
    def url(self) -> str:
        """Where it is, for the URL of a service."""
        return f"http://{self._host}:{self.port}"


class _Connection(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self, upstream: EchoUpstream, connections: set[asyncio.BaseTransport]) -> None:
        self._upstream = upstream
        self._connections = connections
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next_request()) is not None:
            path = request.split(b" ", 2)[1]
            self._upstream.requests += 1
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path)
            )

    def _next_request(self) -> bytes | None:
        """Take a complete request off the buffer; return its head."""
        head, end, _ = self._buffer.partition(b"\r\n\r\n")
        found = _CONTENT_LENGTH.search(head + b"\r\n")
        length = len(head) + len(end) + (int(found[1]) if found else 0)
        if not end or len(self._buffer) < length:
            return None
        self._buffer = self._buffer[length:]
        return head

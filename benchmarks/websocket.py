"""WebSocket clients that measure, and the upstream that echoes to them: raw protocols on uvloop.

Both know that all messages are alike, and count bytes instead of reading frames (RFC 6455). They
share a core, and take about as much of it for a message as a proxy takes of its own: where it is
theirs that is busy, the proxy's CPU time for a message still tells.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from functools import partial

import uvloop

MESSAGE_BYTES = 100
_PAYLOAD = b"x" * MESSAGE_BYTES
_ASKED = b"\x81" + bytes([0x80 | MESSAGE_BYTES]) + b"\0\0\0\0" + _PAYLOAD  # masked with zeros
_ECHOED = b"\x81" + bytes([MESSAGE_BYTES]) + _PAYLOAD
_KEY, _ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_RESPONSE = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {_ACCEPT}\r\n\r\n"
).encode()
_END_OF_HEAD = b"\r\n\r\n"


class _Side(asyncio.Protocol):
    """One end of a WebSocket connection: a head, then messages of one size."""

    _transport: asyncio.Transport

    def __init__(self, message_bytes: int) -> None:
        self._message_bytes = message_bytes
        self._head: bytes | None = b""
        self._partial_bytes = 0  # of a message of which there is more to come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # TCP gives a full Transport

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(_END_OF_HEAD)
            if not end:
                return
            self._head = None
            self.on_head(head)
        whole, self._partial_bytes = divmod(self._partial_bytes + len(data), self._message_bytes)
        if whole:
            self.on_messages(whole)

    def on_head(self, head: bytes) -> None:
        raise NotImplementedError

    def on_messages(self, number: int) -> None:
        raise NotImplementedError


class _Echo(_Side):
    def __init__(self) -> None:
        super().__init__(len(_ASKED))

    def on_head(self, head: bytes) -> None:
        del head
        self._transport.write(_RESPONSE)

    def on_messages(self, number: int) -> None:
        self._transport.write(_ECHOED * number)


class _Client(_Side):
    """Sends the next message when the last one has come back."""

    def __init__(self, path: str, latencies_s: list[float], ends: list[_Client]) -> None:
        super().__init__(len(_ECHOED))
        self._path = path
        self._latencies_s = latencies_s
        self._ends = ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(_REQUEST.format(path=self._path).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._ends.append(self)

    def on_head(self, head: bytes) -> None:
        if head.startswith(b"HTTP/1.1 101 "):
            self._send()
        else:
            self._transport.abort()

    def on_messages(self, number: int) -> None:
        del number  # there is never more than one on the way
        self._latencies_s.append(time.perf_counter() - self._sent_at)
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(_ASKED)


async def echo(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port)
    await server.serve_forever()


async def load(port: int, path: str, connections: int, duration_s: float) -> None:
    """Measure, and print the figures as one line of JSON, as wrk's script does."""
    loop = asyncio.get_running_loop()
    latencies_s: list[float] = []
    ends: list[_Client] = []
    for _ in range(connections):
        await loop.create_connection(partial(_Client, path, latencies_s, ends), "127.0.0.1", port)
    await asyncio.sleep(duration_s)
    latencies_us = sorted(round(1e6 * latency_s) for latency_s in latencies_s) or [0]
    summary = {
        "requests": len(latencies_s),
        "duration_us": round(1e6 * duration_s),
        "p50_us": latencies_us[len(latencies_us) // 2],
        "p99_us": latencies_us[len(latencies_us) * 99 // 100],
        "status_errors": 0,
        "socket_errors": len(ends),
    }
    print(json.dumps(summary), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    echoing = commands.add_parser("echo")
    echoing.add_argument("port", type=int)
    loading = commands.add_parser("load")
    loading.add_argument("port", type=int)
    loading.add_argument("path")
    loading.add_argument("connections", type=int)
    loading.add_argument("duration_s", type=float)
    given = parser.parse_args()
    if given.command == "echo":
        uvloop.run(echo(given.port))
    else:
        uvloop.run(load(given.port, given.path, given.connections, given.duration_s))


if __name__ == "__main__":
    main()

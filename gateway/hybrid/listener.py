"""A control plane's listener for data planes: TLS with the shared certificate, then WebSocket.

A connection is accepted plain, so that there is a peer to name, and speaks TLS before anything
else. Nothing is read beyond that, and nothing answered, until the peer has shown the certificate.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from http import HTTPStatus
from socket import socket
from typing import Any, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from gateway.hybrid.certificates import ClusterPair
from gateway.hybrid.complaints import Complaints
from gateway.hybrid.protocol import (
    MOST_BYTES_ASKED,
    OPEN_TIMEOUT_S,
    PATH,
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
)

MOST_CONNECTIONS = 5000
CLOSE_TIMEOUT_S = 1.0

Speak = Callable[[ServerConnection, str], Awaitable[None]]
"""Speaks with a verified peer at an IP address until it is gone."""


class ClusterListener:
    """Serves an opened socket until stopped."""

    def __init__(self, pair: ClusterPair, complaints: Complaints, speak: Speak) -> None:
        self._pair = pair
        self._context = pair.server_context()
        self._complaints = complaints
        self._speak = speak
        self._server: Server | None = None
        self._connections: set[_Connection] = set()
        self._arriving: set[asyncio.Task[None]] = set()

    async def start(self, listening: socket) -> None:
        """Begin to accept."""
        self._server = await serve(
            self._serve_verified,
            sock=listening,
            create_connection=cast("type[ServerConnection]", partial(_Connection, listener=self)),
            process_request=_refuse_other_paths,
            compression=None,
            server_header=None,
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MOST_BYTES_ASKED,
            max_queue=4,
        )

    async def stop(self) -> None:
        """Accept no more, and tell all data planes to go elsewhere."""
        if self._server is None:
            return
        for task in self._arriving:
            task.cancel()
        self._server.close()
        await self._server.wait_closed()

    # -- what connections ask for

    def has_room(self) -> bool:
        """Tell whether a further connection may stay."""
        return len(self._connections) < MOST_CONNECTIONS

    def add(self, connection: _Connection, arriving: Coroutine[Any, Any, None]) -> None:
        """Take a connection, and run what verifies its peer."""
        self._connections.add(connection)
        task = asyncio.create_task(arriving, name="data-plane-arrives")
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    def discard(self, connection: _Connection) -> None:
        """Hear that a connection is over."""
        self._connections.discard(connection)

    async def verify(
        self, plain: asyncio.Transport, connection: _Connection
    ) -> asyncio.Transport | None:
        """Return the TLS transport of a peer that has shown our certificate, None for others."""
        ip = _ip(plain)
        try:
            verified = await asyncio.get_running_loop().start_tls(
                plain,
                connection,
                self._context,
                server_side=True,
                ssl_handshake_timeout=OPEN_TIMEOUT_S,
                ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
            )
        except ssl.SSLError as error:
            self._complaints.say("peer refused at the cluster listener", ip, _why(error))
            return None
        except OSError:  # it went away, or said nothing
            return None
        assert verified is not None  # noqa: S101 - the loop's, of which there is one
        if not self._pair.is_shown_by(verified.get_extra_info("ssl_object")):
            self._complaints.say("peer refused at the cluster listener", ip, _ANOTHER)
            return None
        return verified

    async def _serve_verified(self, connection: ServerConnection) -> None:
        await self._speak(connection, _ip(connection.transport))


class _Connection(ServerConnection):
    """A connection whose peer is verified before WebSocket hears of it."""

    def __init__(self, *args: Any, listener: ClusterListener, **options: Any) -> None:
        super().__init__(*args, **options)
        self._listener = listener
        self._is_verified = False
        self._is_lost = False
        self._early = bytearray()  # came with the end of the TLS handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast("asyncio.Transport", transport)
        if not self._listener.has_room():
            plain.abort()
            return
        plain.pause_reading()
        self._listener.add(self, self._arrive(plain))

    def data_received(self, data: bytes) -> None:
        if self._is_verified:
            super().data_received(data)
        else:
            self._early += data

    def eof_received(self) -> None:
        if self._is_verified:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.discard(self)
        self._is_lost = True
        if self._is_verified:
            super().connection_lost(exc)

    async def _arrive(self, plain: asyncio.Transport) -> None:
        try:
            verified = await self._listener.verify(plain, self)
        except BaseException:
            plain.abort()
            raise
        if verified is None or self._is_lost:
            self._listener.discard(self)
            plain.abort()
            return
        self._is_verified = True
        super().connection_made(verified)
        if self._early:
            super().data_received(bytes(self._early))
            self._early.clear()


def _refuse_other_paths(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == PATH:
        return None
    return connection.respond(HTTPStatus.NOT_FOUND, f"Data planes connect to {PATH}.\n")


_ANOTHER = "it shows another certificate than ours: give it the same pair"

_REASONS = {
    "CERTIFICATE_VERIFY_FAILED": _ANOTHER,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate: only data planes connect here",
    "HTTP_REQUEST": "it speaks plain HTTP: only data planes connect here",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: only data planes connect here",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not take our certificate: give it the same pair",
    "TLSV1_ALERT_BAD_CERTIFICATE": "it does not take our certificate: give it the same pair",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not take our certificate: give it the same pair",
}


def _why(error: ssl.SSLError) -> str:
    return _REASONS.get(error.reason or "", f"TLS failed: {error.reason or error}")


def _ip(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else "unknown"

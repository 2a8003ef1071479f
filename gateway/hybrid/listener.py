"""A control plane's listener for data planes: TLS with the shared certificate, then WebSocket.

Connections are accepted here rather than by the library, so that a peer that fails at TLS has an
address to be named by. Nothing is answered until the peer has shown the certificate.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from socket import MSG_PEEK, socket
from typing import cast

import structlog
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

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
MESSAGES_AHEAD = 4
_PAUSE_S = 0.1
"""After a connection could not be accepted: there are too many open files."""

Speak = Callable[[ServerConnection, str], Awaitable[None]]
"""Speaks with a verified peer at an IP address until it is gone."""

_log = structlog.get_logger(__name__)


class ClusterListener:
    """Serves an opened socket until stopped."""

    def __init__(self, pair: ClusterPair, complaints: Complaints, speak: Speak) -> None:
        self._pair = pair
        self._context = pair.server_context()
        self._complaints = complaints
        self._speak = speak
        self._listening: socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._connections: set[ServerConnection] = set()

    def start(self, listening: socket) -> None:
        """Begin to accept."""
        self._listening = listening
        self._accepting = asyncio.create_task(self._accept(listening), name="listener-cluster")

    async def stop(self) -> None:
        """Accept no more, and tell all data planes to go elsewhere."""
        if self._listening is None or self._accepting is None:
            return
        self._accepting.cancel()
        await asyncio.wait({self._accepting})
        self._listening.close()
        closing = [connection.close(CloseCode.GOING_AWAY) for connection in self._connections]
        await asyncio.gather(*closing)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def is_serving(self) -> bool:
        """Tell whether connections are still welcome."""
        return self._accepting is not None and not self._accepting.done()

    async def _accept(self, listening: socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, (ip, *_) = await loop.sock_accept(listening)
            except OSError as error:
                self._complaints.say("cannot accept at the cluster listener", "", str(error))
                await asyncio.sleep(_PAUSE_S)
                continue
            if len(self._serving) >= MOST_CONNECTIONS:
                self._complaints.say("peer refused at the cluster listener", ip, _FULL)
                accepted.close()
                continue
            task = asyncio.create_task(self._serve(accepted, ip), name=f"data-plane-at-{ip}")
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, accepted: socket, ip: str) -> None:
        """Speak with a peer that shows our certificate and wants a WebSocket."""
        connection = await self._verified(accepted, ip)
        if connection is None:
            return
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await connection.handshake(_refuse_other_paths, server_header=None)
            if connection.state is State.OPEN:
                connection.start_keepalive()
                self._connections.add(connection)
                await self._speak(connection, ip)
                await connection.close()
        except TimeoutError:
            self._complaints.say("peer cut at the cluster listener", ip, "it asks for nothing")
        except Exception:  # noqa: BLE001 - one data plane must not take the others down
            _log.exception("speaking with a data plane failed", peer=ip)
        finally:
            self._connections.discard(connection)
            connection.transport.abort()

    async def _verified(self, accepted: socket, ip: str) -> ServerConnection | None:
        """Return the connection of a peer that has shown our certificate, None for others."""
        if not await _speaks(accepted):
            accepted.close()
            return None
        connection = self._connection()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=OPEN_TIMEOUT_S,
                ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
            )
        except OSError as error:  # which TLS errors are
            self._complaints.say("peer refused at the cluster listener", ip, _why(error))
            return None
        if not self._pair.is_shown_by(connection.transport.get_extra_info("ssl_object")):
            self._complaints.say("peer refused at the cluster listener", ip, _ANOTHER)
            connection.transport.abort()
            return None
        return connection

    def _connection(self) -> ServerConnection:
        return _Connection(
            ServerProtocol(max_size=MOST_BYTES_ASKED),
            cast("Server", self),  # which is only asked whether it is serving
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_queue=MESSAGES_AHEAD,
        )


class _Connection(ServerConnection):
    """A connection that `ClusterListener` looks after, not the library's server."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Connection.connection_made(self, transport)


def _refuse_other_paths(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == PATH:
        return None
    return connection.respond(HTTPStatus.NOT_FOUND, f"Data planes connect to {PATH}.\n")


_FULL = f"there are {MOST_CONNECTIONS} connections already"
_ANOTHER = "it shows another certificate than ours: give it the same pair"
_GONE = "it went away during the TLS handshake: a data plane says why in its log"
_TAKES_ANOTHER = "it does not take our certificate: give it the same pair"

_REASONS = {
    "CERTIFICATE_VERIFY_FAILED": _ANOTHER,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate: only data planes connect here",
    "HTTP_REQUEST": "it speaks plain HTTP: only data planes connect here",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: only data planes connect here",
    "TLSV1_ALERT_UNKNOWN_CA": _TAKES_ANOTHER,
    "SSLV3_ALERT_BAD_CERTIFICATE": _TAKES_ANOTHER,
}


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", f"TLS failed: {error.reason or error}")
    return _GONE


async def _speaks(accepted: socket) -> bool:
    """Wait until a peer says something; those that only look whether the port is open do not."""
    loop, has_spoken = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(accepted, has_spoken.set)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await has_spoken.wait()
        return bool(accepted.recv(1, MSG_PEEK))
    except OSError:  # it was reset, or the time is over
        return False
    finally:
        loop.remove_reader(accepted)

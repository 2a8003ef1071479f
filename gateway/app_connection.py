"""A client connection of the admin and status listeners: uvicorn's, with the limits that it lacks.

uvicorn takes any number of connections and heads of any size, and waits for ever for a head, and
for a client to take what it was sent. How long a body may take is up to the apps.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections import OrderedDict
from functools import partial
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


class AppLimits(NamedTuple):
    """The size of a head, the time that each wait for the client may take, and the connections."""

    head_bytes: int
    wait_s: float
    connections: int


class Waiting:
    """The connections of one listener that wait for a request, the one that does longest first."""

    def __init__(self) -> None:
        self._connections: OrderedDict[AppConnection | TlsArrival, None] = OrderedDict()

    def add(self, connection: AppConnection | TlsArrival) -> None:
        """Note that a connection begins to wait, maybe anew."""
        self._connections[connection] = None
        self._connections.move_to_end(connection)

    def discard(self, connection: AppConnection | TlsArrival) -> None:
        """Note that it waits no more."""
        self._connections.pop(connection, None)

    def make_room(self, connections: set[Any], most: int) -> bool:
        """Tell whether one more may come; of ``most``, the one that waits for longest goes."""
        if len(connections) < most:
            return True
        idle = next(iter(self._connections), None)
        if idle is None:
            return False
        self.discard(idle)
        connections.discard(idle)  # at once: the next one may come before the end of this is told
        idle.cut()
        return True


class AppConnection(HttpToolsProtocol):
    """Closes when too many bytes come that are no body, no complete head comes in time, or the
    client does not go on taking what it is sent.

    ``arrival`` is what has held its place so far.
    """

    def __init__(
        self,
        limits: AppLimits,
        waiting: Waiting,
        *,
        arrival: TlsArrival | None = None,
        **uvicorn: Any,
    ) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._waiting = waiting
        self._arrival = arrival
        self._bytes_without_body = 0
        self._head_deadline: asyncio.TimerHandle | None = None
        self._taking_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head, if there is room for one more connection."""
        if self._arrival is not None:
            self._arrival.leave()
        if not self._waiting.make_room(self.connections, self._limits.connections):
            self.transport = transport  # for `connection_lost`
            transport.abort()
            return
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        _cancel(self._taking_deadline)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what a client sends, as long as it leads somewhere."""
        self._bytes_without_body += len(data)
        super().data_received(data)
        if self._bytes_without_body > self._limits.head_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Count anew for each request."""
        self._bytes_without_body = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Have the request answered."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; head, chunk extensions and trailers have no such excuse."""
        self._bytes_without_body = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Wait for the next head, unless it has come already."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_head()

    def pause_writing(self) -> None:
        """Wait for the client to take some of what it was sent."""
        super().pause_writing()
        self._taking_deadline = self._close_later()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        _cancel(self._taking_deadline)

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()

    def _await_head(self) -> None:
        _cancel(self._head_deadline)
        self._waiting.add(self)
        self._head_deadline = self._close_later()

    def _stop_waiting(self) -> None:
        self._waiting.discard(self)
        _cancel(self._head_deadline)

    def _close_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._limits.wait_s, self.transport.abort)


class TlsArrival(asyncio.Protocol):
    """A connection of a TLS listener up to the end of its handshake; it counts from the beginning.

    As on the proxy's listener, it leaves the transport that it is given and goes on with a socket
    of its own: nothing may be read before the transport is there that decrypts it.
    """

    def __init__(
        self,
        limits: AppLimits,
        waiting: Waiting,
        context: ssl.SSLContext,
        *,
        server_state: ServerState,
        **uvicorn: Any,
    ) -> None:
        self._limits = limits
        self._waiting = waiting
        self._context = context
        self._connections: set[Any] = server_state.connections
        self._uvicorn = {"server_state": server_state, **uvicorn}
        self._socket: socket.socket | None = None  # until the handshake begins
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake, if there is room for one more connection."""
        if self._waiting.make_room(self._connections, self._limits.connections):
            with contextlib.suppress(OSError):  # no more file descriptors, or the client has gone
                self._begin(_handle_on(transport))
        transport.abort()

    def shutdown(self) -> None:
        """Come to an end: nothing was asked yet (called by uvicorn)."""
        self.cut()

    def cut(self) -> None:
        """Close at once."""
        if self._handshake is not None:
            self._handshake.cancel()
        if self._socket is not None:
            self._socket.close()
        self.leave()

    def leave(self) -> None:
        """Count no more."""
        self._waiting.discard(self)
        self._connections.discard(self)

    def _begin(self, connected: socket.socket) -> None:
        self._connections.add(self)
        self._waiting.add(self)
        self._socket = connected
        self._handshake = asyncio.create_task(self._enter(connected), name="tls-arrival")

    async def _enter(self, connected: socket.socket) -> None:
        """Make the handshake and hand over to a connection that serves requests."""
        self._socket = None  # it is the transport's from now on
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                partial(AppConnection, self._limits, self._waiting, arrival=self, **self._uvicorn),
                connected,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.wait_s,
                ssl_shutdown_timeout=self._limits.wait_s,
            )
        except OSError:
            pass  # it is no TLS, or not ours, or too slow, or has gone
        finally:
            self.leave()


def _handle_on(transport: asyncio.Transport) -> socket.socket:
    """Return a handle on the connection that stays when its transport closes."""
    connected = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    connected.setblocking(False)
    return connected


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

"""What happens between accept and the first request where that is more than nothing.

On a listener of TLS, or behind balancers that speak the PROXY protocol, a connection arrives in
steps: it is admitted, its PROXY header is read, the TLS handshake is made, and then it is handed
over to a `DownstreamConnection` that knows its client. Each step has a deadline of
`header_timeout_s`. A plain listener makes its `DownstreamConnection` at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.proxy.admission import Refusal
from gateway.proxy.client import Client, Peer
from gateway.proxy.deadlines import NEVER
from gateway.proxy.downstream import DownstreamConnection, ServerState
from gateway.proxy.proxy_protocol import (
    LIMIT_BYTES,
    ProxyHeader,
    ProxyHeaderError,
    parse_proxy_header,
)

if TYPE_CHECKING:
    from gateway.proxy.proxy import Proxy
    from gateway.proxy.tls import TlsTermination


def connection_factory(
    proxy: Proxy, tls: TlsTermination | None = None
) -> Callable[..., asyncio.Protocol]:
    """Return what makes the connections of a proxy listener, of TLS or not, for uvicorn."""
    if tls is None and not proxy.settings.proxy_protocol:
        return partial(DownstreamConnection, proxy)
    return partial(Arrival, proxy, tls)


class Arrival(asyncio.Protocol):
    """A client connection on its way to its first request.

    It leaves the transport that it is given at once and goes on with a socket of its own: nothing
    but the header may be read before the transport is there that reads the rest.
    """

    __slots__ = (
        "_client_address",
        "_entering",
        "_header",
        "_is_cut",
        "_peer",
        "_proxy",
        "_server_state",
        "_socket",
        "_step",
        "_tls",
        "deadline",
        "slot_at",
        "waiting_since",
    )

    _peer: Peer
    _client_address: bytes

    busy = False
    reading_head = True

    def __init__(
        self,
        proxy: Proxy,
        tls: TlsTermination | None,
        *,
        server_state: ServerState,
        **_uvicorn: Any,
    ) -> None:
        self._proxy = proxy
        self._tls = tls
        self._server_state = server_state
        self.deadline = NEVER
        self.slot_at = NEVER
        self.waiting_since = NEVER
        self._step = Refusal.PROXY_PROTOCOL
        self._socket: socket.socket | None = None
        self._header = b""  # as far as it has come
        self._entering: asyncio.Task[None] | None = None
        self._is_cut = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, unless there are too many, and take the first step."""
        proxy = self._proxy
        self._peer = proxy.forwarding.peer_of(transport)
        self._client_address = self._peer.address
        by_header = proxy.settings.proxy_protocol
        if proxy.admission.admit(self, None if by_header else self._peer.address):
            self._server_state.connections.add(self)
            self.waiting_since = proxy.loop.time()
            connected = self._socket = self._take_socket(transport)
            if connected is not None and by_header:
                self._begin_header(connected)
            elif connected is not None:
                self._enter(connected)
        transport.abort()  # type: ignore[attr-defined]  # TCP gives a full Transport

    def _take_socket(self, transport: asyncio.BaseTransport) -> socket.socket | None:
        """Return a handle on the connection that stays when its transport closes."""
        try:
            connected = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        except OSError as error:  # no more file descriptors, or the client has gone
            self._refuse(str(error))
            return None
        connected.setblocking(False)
        return connected

    # -- the end before the beginning

    def on_deadline(self) -> None:
        """Close a connection that has taken too long for a step."""
        self._refuse("it took too long")

    def shutdown(self) -> None:
        """Wait no longer than for a last request (called by uvicorn when nobody new may come)."""
        self._proxy.wheel.expire_in(self, self._proxy.idle_timeout_s)

    def cut(self) -> None:
        """Close at once."""
        self._is_cut = True
        if self._entering is not None:
            self._entering.cancel()
        self._forget()

    def _refuse(self, reason: str) -> None:
        self._note_refusal(reason)
        self.cut()

    def _note_refusal(self, reason: str) -> None:
        self._proxy.admission.refuse(self._step, reason, self._client_address.decode())

    def _forget(self) -> None:
        """Count the connection out, and close what is still held; nothing if that is done."""
        if self._socket is not None:
            self._proxy.loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self._server_state.connections.discard(self)
        self._proxy.admission.leave(self)
        self._proxy.wheel.forget(self)
        self.deadline = NEVER

    # -- the PROXY header

    def _begin_header(self, connected: socket.socket) -> None:
        self._begin_step(Refusal.PROXY_PROTOCOL)
        self._proxy.loop.add_reader(connected, self._read_header, connected)

    def _read_header(self, connected: socket.socket) -> None:
        """Take what belongs to the header, and not one byte of what comes after it."""
        try:
            seen = connected.recv(LIMIT_BYTES, socket.MSG_PEEK)
            if not seen:
                self._on_end_of_header()
                return
            header = parse_proxy_header(self._header + seen)
            size = len(seen) if header is None else header.size - len(self._header)
            self._header += connected.recv(size)
        except BlockingIOError:
            return
        except ProxyHeaderError as error:
            self._refuse(str(error))
        except OSError:
            self.cut()  # the client has gone
        else:
            if header is not None:
                self._proxy.loop.remove_reader(connected)
                self._take_header(header, connected)

    def _on_end_of_header(self) -> None:
        """Close; a connection that ends without a byte is a balancer's check, and no refusal."""
        if self._header:
            self._refuse("it ended within the header")
        else:
            self.cut()

    def _take_header(self, header: ProxyHeader, connected: socket.socket) -> None:
        by_proxy_protocol = self._proxy.forwarding.by_proxy_protocol
        if header.client is not None and self._peer.trusted and by_proxy_protocol:
            self._client_address = header.client
        if self._proxy.admission.identify(self, self._client_address):
            self._enter(connected)
        else:
            self.cut()

    # -- TLS, and the beginning

    def _enter(self, connected: socket.socket) -> None:
        self._begin_step(Refusal.TLS_HANDSHAKE)
        self._entering = self._proxy.loop.create_task(
            self._make_transport(connected), name="arrival"
        )

    async def _make_transport(self, connected: socket.socket) -> None:
        """Make the connection's transport, with a handshake if it is one of TLS."""
        self._socket = None  # it is the transport's from now on
        proxy, tls = self._proxy, self._tls
        options: dict[str, Any] = {}
        if tls is not None:
            options["ssl"] = tls.context
            options["ssl_handshake_timeout"] = proxy.settings.header_timeout_s + 1  # ours is sooner
            options["ssl_shutdown_timeout"] = proxy.settings.body_timeout_s
        try:
            await proxy.loop.connect_accepted_socket(partial(_Entry, self), connected, **options)
        except ssl.SSLError as error:
            self._note_refusal(error.reason or str(error))
        except OSError:
            pass  # the client has gone
        finally:
            self._forget()

    def hand_over(self, transport: asyncio.Transport) -> None:
        """Let a connection that knows its client have the transport."""
        if self._is_cut:
            transport.abort()
            return
        proxy, tls = self._proxy, self._tls
        sni = None if tls is None else tls.server_name(transport.get_extra_info("ssl_object"))
        port = proxy.forwarding.port_of(transport)
        client = Client(self._client_address, port, tls is not None, sni)
        downstream = DownstreamConnection(proxy, server_state=self._server_state)
        proxy.admission.hand_over(self, downstream)
        self._forget()
        transport.set_protocol(downstream)
        downstream.begin(transport, self._peer, client)

    def _begin_step(self, step: Refusal) -> None:
        proxy = self._proxy
        self._step = step
        self._proxy.wheel.expire_in(
            self, proxy.idle_timeout_s if proxy.draining else proxy.settings.header_timeout_s
        )


class _Entry(asyncio.Protocol):
    """The protocol of the new transport, up to the moment when it can be used."""

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it over."""
        self._arrival.hand_over(transport)  # type: ignore[arg-type]  # TCP gives a full Transport

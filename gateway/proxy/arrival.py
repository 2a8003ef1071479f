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
    """A client connection on its way to its first request."""

    __slots__ = (
        "_client_address",
        "_early",
        "_header",
        "_peer",
        "_proxy",
        "_server_state",
        "_shaking_hands",
        "_socket",
        "_step",
        "_tls",
        "_transport",
        "deadline",
        "slot_at",
        "waiting_since",
    )

    _transport: asyncio.Transport
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
        self._header = b""  # as far as it has come
        self._socket: socket.socket | None = None  # a second handle, while the header is read
        self._shaking_hands: asyncio.Task[None] | None = None
        self._early = b""  # came with the end of the handshake

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, unless there are too many, and take the first step."""
        self._transport = transport  # type: ignore[assignment]  # TCP gives a full Transport
        self._transport.pause_reading()
        proxy = self._proxy
        self._peer = proxy.forwarding.peer_of(transport)
        self._client_address = self._peer.address
        by_header = proxy.settings.proxy_protocol
        if not proxy.admission.admit(self, None if by_header else self._peer.address):
            self._transport.abort()
            return
        self._server_state.connections.add(self)
        self.waiting_since = proxy.loop.time()
        if by_header:
            self._begin_header()
        else:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection out."""
        del exc  # however it ended, it is gone
        self._forget()

    def data_received(self, data: bytes) -> None:
        """Keep what came with the last bytes of the handshake: the first request."""
        self._early += data

    # -- the end before the beginning

    def on_deadline(self) -> None:
        """Close a connection that has taken too long for a step."""
        if self.deadline > self._proxy.loop.time():
            self._proxy.wheel.watch(self)
        else:
            self._refuse("it took too long")

    def shutdown(self) -> None:
        """Wait no longer than for a last request (called by uvicorn when nobody new may come)."""
        self._set_deadline(self._proxy.idle_timeout_s)

    def cut(self) -> None:
        """Close at once."""
        self._forget()
        if self._shaking_hands is not None:
            self._shaking_hands.cancel()
        self._transport.abort()

    def _refuse(self, reason: str) -> None:
        self._proxy.admission.refuse(self._step, reason, self._client_address.decode())
        self.cut()

    def _forget(self) -> None:
        """Count the connection out, wherever it has got to; nothing if that has been done."""
        self._close_socket()
        self._server_state.connections.discard(self)
        self._proxy.admission.leave(self)
        self._proxy.wheel.forget(self)
        self.deadline = NEVER

    # -- the PROXY header

    def _begin_header(self) -> None:
        """Watch the socket past its transport, which would take more than the header from it."""
        self._set_deadline(self._proxy.settings.header_timeout_s)
        connected = self._transport.get_extra_info("socket")
        try:
            self._socket = socket.socket(fileno=os.dup(connected.fileno()))
        except OSError as error:  # no more file descriptors, or the client has gone
            self._refuse(str(error))
            return
        self._socket.setblocking(False)
        self._proxy.loop.add_reader(self._socket, self._read_header, self._socket)

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
                self._take_header(header)

    def _on_end_of_header(self) -> None:
        """Close; a connection that ends without a byte is a balancer's check, and no refusal."""
        if self._header:
            self._refuse("it ended within the header")
        else:
            self.cut()

    def _take_header(self, header: ProxyHeader) -> None:
        self._close_socket()
        forwarding = self._proxy.forwarding
        if header.client is not None and self._peer.trusted and forwarding.by_proxy_protocol:
            self._client_address = header.client
        if self._proxy.admission.identify(self, self._client_address):
            self._go_on()
        else:
            self.cut()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._proxy.loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    # -- TLS

    def _go_on(self) -> None:
        if self._tls is None:
            self._hand_over(self._transport)
        else:
            self._step = Refusal.TLS_HANDSHAKE
            self._set_deadline(self._proxy.settings.header_timeout_s)
            self._shaking_hands = self._proxy.loop.create_task(
                self._shake_hands(self._tls), name="tls-handshake"
            )

    async def _shake_hands(self, tls: TlsTermination) -> None:
        settings = self._proxy.settings
        try:
            transport = await self._proxy.loop.start_tls(
                self._transport,
                self,
                tls.context,
                server_side=True,
                ssl_handshake_timeout=settings.header_timeout_s + 1,  # ours is sooner
                ssl_shutdown_timeout=settings.body_timeout_s,
            )
        except ssl.SSLError as error:
            self._refuse(error.reason or str(error))
        except OSError:
            self.cut()  # the client has gone
        else:
            if transport is None or self.deadline == NEVER:  # it has gone just now
                self.cut()
            else:
                sni = tls.server_name(transport.get_extra_info("ssl_object"))
                self._hand_over(transport, sni)

    # -- the beginning

    def _hand_over(self, transport: asyncio.Transport, sni: bytes | None = None) -> None:
        """Let a connection that knows its client have the transport."""
        proxy = self._proxy
        port = proxy.forwarding.port_of(transport)
        client = Client(self._client_address, port, self._tls is not None, sni)
        downstream = DownstreamConnection(proxy, server_state=self._server_state)
        proxy.admission.hand_over(self, downstream)
        self._forget()
        transport.set_protocol(downstream)
        transport.resume_reading()
        downstream.begin(transport, self._peer, client)
        if self._early:
            downstream.data_received(self._early)

    def _set_deadline(self, after_s: float) -> None:
        self.deadline = self._proxy.loop.time() + after_s
        if self.deadline < self.slot_at:
            self._proxy.wheel.watch(self)

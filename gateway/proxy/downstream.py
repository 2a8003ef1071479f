"""The client's side: one HTTP/1.x connection, one exchange after another.

A connection reads a head, then the request's body, then waits for its response; what a client sends
ahead (pipelining) stays in the buffer until its turn. uvicorn makes these from the proxy listener.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from gateway.access_log import TlsFacts
from gateway.plugins.request import Connection
from gateway.proxy.chunked import chunk, last_chunk
from gateway.proxy.client import UNIX_ADDRESS, Client, Peer
from gateway.proxy.deadlines import NEVER
from gateway.proxy.exchange import Exchange
from gateway.proxy.http1 import (
    NO_BODY,
    MessageError,
    RequestFields,
    RequestHead,
    parse_request_head,
)
from gateway.proxy.incoming_body import IncomingBody
from gateway.proxy.request_target import request_target
from gateway.proxy.upstream import MUCH_AT_ONCE_BYTES

if TYPE_CHECKING:
    from gateway.proxy.proxy import Proxy
    from gateway.proxy.tunnel import TunnelEnd

_LINGER_S = 2.0
_LINGER_BYTES = 1_048_576
_HALF_CLOSED_S = 1.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_numbers = count(1)
"""Of connections, in the order they came to this process."""


class ServerState(Protocol):
    """What uvicorn shares with its connections, as far as we use it."""

    connections: set[Any]


class Reading(Enum):
    """What the next bytes from the client are."""

    HEAD = "head"
    UNASKED = "unasked"  # the request body, but nobody has asked for it yet
    BODY = "body"
    DRAIN = "drain"  # the rest of a request body that nobody wants any more
    AHEAD = "ahead"  # the request is complete: these bytes belong to the next one
    NOTHING = "nothing"  # the connection is about to close


# Members looked up once: on Python 3.11 each access through the class costs as much as a call.
_HEAD, _UNASKED, _BODY, _DRAIN, _AHEAD, _NOTHING = Reading


class DownstreamConnection(asyncio.Protocol):
    """A client connection of the proxy listener."""

    __slots__ = (
        "_body",
        "_buffer",
        "_chunked_response",
        "_closing_after",
        "_exchange",
        "_fields",
        "_half_closed",
        "_held_back",
        "_http10",
        "_linger_bytes",
        "_number",
        "_proxy",
        "_reading",
        "_requests",
        "_server_state",
        "_transport",
        "_unsent_bytes",
        "_writing_paused",
        "client",
        "deadline",
        "forwarded_lines",
        "peer",
        "sent_head",
        "slot_at",
    )

    _transport: asyncio.Transport
    client: Client
    peer: Peer

    def __init__(self, proxy: Proxy, *, server_state: ServerState, **_uvicorn: Any) -> None:
        self._proxy = proxy
        self._server_state = server_state
        self.deadline = NEVER
        self.slot_at = NEVER
        self.forwarded_lines = b""
        self.sent_head = b""
        self._exchange: Exchange | None = None
        self._fields: RequestFields | None = None  # of the last request
        self._reading = _HEAD
        self._buffer = b""
        self._requests = 0
        self._held_back = False  # reading is paused
        self._writing_paused = False
        self._unsent_bytes = 0  # that the client has yet to take, when it was last looked at
        self._half_closed = False
        self._linger_bytes = _LINGER_BYTES
        # Of the current exchange:
        self._body: IncomingBody | None = None
        self._chunked_response = False
        self._closing_after = False
        self._http10 = False

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, unless there are too many."""
        proxy = self._proxy
        peer = proxy.forwarding.peer_of(transport)
        if proxy.admission.admit(self, peer.address):
            self.begin(transport, peer, Client(peer.address, proxy.forwarding.port_of(transport)))
        else:
            transport.abort()  # type: ignore[attr-defined]  # TCP gives a full Transport

    def begin(self, transport: asyncio.BaseTransport, peer: Peer, client: Client) -> None:
        """Await the requests of an admitted client."""
        self._transport = transport  # type: ignore[assignment]  # as above
        self._server_state.connections.add(self)
        self._number = next(_numbers)
        proxy = self._proxy
        self._transport.set_write_buffer_limits(high=proxy.buffer_limit_bytes)
        self.peer = peer
        self.client = client
        self.forwarded_lines = proxy.forwarding.connection_lines(client, peer)
        header_timeout_s = proxy.settings.header_timeout_s
        self._proxy.wheel.expire_in(
            self, proxy.idle_timeout_s if proxy.draining else header_timeout_s
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange that nobody waits any more."""
        del exc  # however it ended, it is gone
        self._server_state.connections.discard(self)
        self._proxy.admission.leave(self)
        self._proxy.wheel.forget(self)
        self._reading = _NOTHING
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.on_client_gone()

    def eof_received(self) -> bool:
        """Keep the way back open for a moment: a client may half-close after asking, or be gone."""
        if self._exchange is not None and self._reading in (_AHEAD, _UNASKED):
            self._half_closed = self._closing_after = True
            self._proxy.wheel.expire_in(self, _HALF_CLOSED_S)
            return self._transport.can_write_eof()  # TLS closes both ways
        self._finish()
        return False

    def pause_writing(self) -> None:
        """Hold the response back: the client is slower than the upstream."""
        self._writing_paused = True
        self._await_taking()
        if self._exchange is not None:
            self._exchange.on_client_full()

    def resume_writing(self) -> None:
        """Let the response come again, or the next request if that one is over."""
        self._writing_paused = False
        if self._transport.is_closing():
            return
        self._unsent_bytes = 0
        if self._exchange is not None:
            self._await_client()
            self._exchange.on_client_drained()
        elif self._reading is _HEAD:
            self._await_request()

    def data_received(self, data: bytes) -> None:
        """Read on: see `Reading`."""
        reading = self._reading
        try:
            if reading is _HEAD:
                if self._buffer:
                    self._read_rest_of_head(data)
                else:
                    self._read_head(data)
            elif reading is _BODY and self._exchange is not None and self._body is not None:
                self._read_body(data, self._exchange, self._body)
            elif reading is _AHEAD or reading is _UNASKED:
                self._read_ahead(data)
            elif reading is _DRAIN and self._body is not None:
                self._drain(data, self._body)
            else:
                self._discard(data)
        except MessageError as error:
            self._refuse(error, self._buffer or data)

    def on_deadline(self) -> None:
        """Close a connection that waited too long for its client."""
        if self._reading is _BODY and self._exchange is not None:
            self._time_out_body(self._exchange)
        elif self._takes_slowly():
            self._await_taking()
        elif self._exchange or self._writing_paused or self._transport.is_closing():
            self._close()
        elif self.reading_head:
            self._refuse(MessageError("request head took too long", 408), self._buffer)
        else:
            self._finish()  # idle, or has lingered: what is not sent yet still will be

    def shutdown(self) -> None:
        """Wait for a last request only so long (called by uvicorn when nobody new may come).

        A request may be on its way here. Its response will say that it is the last, as that to a
        request under way will, since the proxy is draining.
        """
        idle = self._exchange is None and self._reading is _HEAD and not self.reading_head
        if idle and not self._writing_paused:
            self._proxy.wheel.expire_in(self, self._proxy.idle_timeout_s)

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self._close()

    @property
    def waiting_since(self) -> float:
        """Since when it waits for a request, or the rest of one's head; NEVER if it does not."""
        if self._exchange is not None or self._reading is not _HEAD or self._writing_paused:
            return NEVER
        settings = self._proxy.settings
        if self._requests and not self._buffer:
            return self.deadline - settings.keepalive_timeout_s
        return self.deadline - settings.header_timeout_s

    @property
    def tls_facts(self) -> TlsFacts | None:
        """How the connection is secured, None if it is not."""
        ssl_object = self._transport.get_extra_info("ssl_object")
        cipher = None if ssl_object is None else ssl_object.cipher()
        if cipher is None:
            return None
        return TlsFacts(ssl_object.version(), cipher[0], self.client.sni)

    @property
    def connection(self) -> Connection:
        """Which connection it is, and which request of it is the current one."""
        name = self._transport.get_extra_info("sockname")
        address, port = name[:2] if isinstance(name, tuple) else (UNIX_ADDRESS.decode(), 0)
        return Connection(address, port, self._number, self._requests)

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._exchange is not None

    @property
    def reading_head(self) -> bool:
        """Whether a request head has begun to come; empty lines before it are none of it."""
        return self._reading is _HEAD and bool(self._buffer.strip(b"\r\n"))

    # -- reading requests

    def _read_rest_of_head(self, data: bytes) -> None:
        """Parse again only once the head may be complete: it may come byte by byte."""
        so_far = len(self._buffer)
        self._buffer += data
        ended = self._buffer.find(b"\r\n\r\n", max(0, so_far - 3)) >= 0
        if ended or len(self._buffer) > self._proxy.head_limits.head_bytes:
            self._read_head(self._buffer)

    def _read_head(self, data: bytes) -> None:
        proxy = self._proxy
        head = parse_request_head(data, proxy.head_limits, self._fields)
        if head is None:
            if not self._buffer:
                self._proxy.wheel.expire_in(self, proxy.settings.header_timeout_s)
            self._buffer = data
            return
        self.deadline = NEVER
        self._buffer = data[head.size :]
        self._requests += 1
        proxy.counts.total_requests += 1
        fields = self._fields = head.fields
        self._closing_after = (
            not fields.keep_alive or self._requests >= proxy.settings.keepalive_requests
        )
        self._http10 = fields.minor == b"0"
        self._begin_exchange(head)

    def _begin_exchange(self, head: RequestHead) -> None:
        try:
            target = request_target(head)
        except MessageError:  # it can be answered as it asks for, all the same
            self._exchange = Exchange(self._proxy, self, head, (b"", b"", b""))
            raise
        exchange = self._exchange = Exchange(self._proxy, self, head, target)
        if head.fields.body_length == 0:
            self._reading = _AHEAD
            exchange.start()
        else:
            self._begin_body(head, exchange)

    def _begin_body(self, head: RequestHead, exchange: Exchange) -> None:
        fields = head.fields
        limit = self._proxy.settings.body_limit_bytes
        if limit and fields.body_length > limit:
            raise MessageError("request body too large", 413)
        self._reading = _UNASKED
        self._body = IncomingBody(fields)
        exchange.start()

    def _read_body(self, data: bytes, exchange: Exchange, body: IncomingBody) -> None:
        self._await_body(body)
        payload, self._buffer = body.take(data)
        if len(data) >= MUCH_AT_ONCE_BYTES or body.has_chunks:
            self._hold_back()
            self._proxy.loop.call_soon(self._read_on, body)
        if payload:
            exchange.on_request_body(payload)
            if self._exchange is not exchange:
                return  # answered without the rest
        if self._body_limit_passed(exchange):
            raise MessageError("request body too large", 413)
        if body.ended:
            self._reading = _AHEAD
            self._await_client()
            exchange.on_request_end(body.trailers)

    def _read_on(self, body: IncomingBody) -> None:
        """Read on after others had their turn: much of a body may be here already.

        First the chunks that are, not all at once: they may be many.
        """
        if self._body is not body or self._reading not in (_BODY, _AHEAD) or body.paused:
            return
        if body.has_chunks and self._reading is _BODY:
            self.data_received(b"")
        if not (body.paused or body.has_chunks) and self._reading in (_BODY, _AHEAD):
            self._resume()

    def _await_client(self) -> None:
        """Set the deadline for what the client has to do in an exchange, if there is anything."""
        body = self._body
        if self._reading is _BODY and body is not None and not body.paused:
            self._await_body(body)
        elif self._writing_paused:
            self._await_taking()
        elif self._reading is not _NOTHING:
            self.deadline = NEVER

    def _await_taking(self) -> None:
        """Wait so long for the client to take some of what waits for it."""
        self._unsent_bytes = self._transport.get_write_buffer_size()
        self._proxy.wheel.expire_in(self, self._proxy.settings.body_timeout_s)

    def _takes_slowly(self) -> bool:
        """Whether the client has taken something since then, if not all, and not too little."""
        if self.client.tls and self._transport.is_closing():
            return False  # such a transport cannot be asked any more
        settings = self._proxy.settings
        taken_bytes = self._unsent_bytes - self._transport.get_write_buffer_size()
        return taken_bytes > settings.body_min_bytes_s * settings.body_timeout_s

    def _await_body(self, body: IncomingBody) -> None:
        timeout_s = self._proxy.settings.body_timeout_s
        self._proxy.wheel.expire_in(self, body.patience_s(self._proxy.loop.time(), timeout_s))

    def _body_limit_passed(self, exchange: Exchange) -> bool:
        limit = self._proxy.settings.body_limit_bytes
        return bool(limit) and exchange.body_size > limit

    def _read_ahead(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > self._proxy.buffer_limit_bytes:
            self._hold_back()

    def _time_out_body(self, exchange: Exchange) -> None:
        if exchange.responding:
            self._close()
        else:
            self._closing_after = True
            exchange.answer(408)

    def _refuse(self, error: MessageError, received: bytes) -> None:
        """Answer a request that cannot be read, and read no further: framing is lost.

        ``received`` is what came of its head, if that is what cannot be read.
        """
        self._proxy.failures.note("bad request", error.reason, self.client.address.decode())
        exchange = self._exchange
        self._closing_after = True
        if exchange is None:
            self._transport.write(self._proxy.refusal(error.status, self.client, received))
            self._linger()
        elif exchange.responding:
            self._close()
        else:
            self._reading = _NOTHING
            exchange.answer(error.status)

    # -- gateway.proxy.client_side.Downstream

    def begin_response(
        self,
        status_text: bytes,
        lines: bytes,
        body_length: int,
        pieces: list[bytes],
        *,
        ended: bool,
    ) -> int:
        """Send a response head and what there is of its body in one write."""
        self._chunked_response = False
        if body_length >= 0:
            framing = b"\r\nContent-Length: %d" % body_length
        elif body_length == NO_BODY:
            framing = b""
        elif self._http10:
            framing = b""
            self._closing_after = True
        else:
            framing = b"\r\nTransfer-Encoding: chunked"
            self._chunked_response = True
        if (
            self._closing_after
            or (self._reading is not _AHEAD and not self._may_drain())
            or (self._proxy.draining and not self._buffer)  # what came ahead is answered as well
        ):
            self._closing_after = True
            framing += b"\r\nConnection: close"
        elif self._http10:
            framing += b"\r\nConnection: keep-alive"
        parts = [b"HTTP/1.1 ", status_text, lines, framing, b"\r\n\r\n"]
        if self._proxy.keeps_heads:
            self.sent_head = b"".join(parts)
        self._add_body(parts, pieces, ended)
        message = b"".join(parts)
        if self._writing_paused and self._exchange is not None:  # by what came before the response
            self._exchange.on_client_full()
        self._transport.write(message)
        return len(message)

    def continue_response(self, pieces: list[bytes], *, ended: bool) -> int:
        """Send more of the body."""
        parts: list[bytes] = []
        self._add_body(parts, pieces, ended)
        message = b"".join(parts)
        if message:
            self._transport.write(message)
        return len(message)

    def _add_body(self, parts: list[bytes], pieces: list[bytes], ended: bool) -> None:
        if self._chunked_response:
            payload = b"".join(pieces)
            if payload:
                parts.append(chunk(payload))
            if ended:
                exchange = self._exchange
                parts.append(last_chunk(b"" if exchange is None else exchange.response_trailers))
        else:
            parts.extend(pieces)

    def send_interim(self, status_text: bytes, lines: bytes) -> int:
        """Send the head of a 1xx response; HTTP/1.0 knows none (RFC 9110 section 15.2)."""
        if self._http10:
            return 0
        message = b"HTTP/1.1 " + status_text + lines + b"\r\n\r\n"
        self._transport.write(message)
        return len(message)

    def cut_response(self) -> None:
        """Close so that the client sees an unfinished body."""
        self._exchange = None
        if self._http10:  # it may take a good close for the end of the body
            connected: socket.socket = self._transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def end_exchange(self) -> None:
        """Go on with the next request, or close."""
        self._exchange = None
        if self._transport.is_closing():
            return
        if self._closing_after:
            if self._reading is not _AHEAD or self._buffer or self._proxy.draining:
                self._linger()  # there is more to come than was read, or may be
            else:
                self._finish()
        elif self._reading is _AHEAD:
            self._await_next()
        else:
            self._begin_to_drain()

    def _await_next(self) -> None:
        self._reading = _HEAD
        if self._writing_paused:
            self._hold_back()  # a client that takes no answers gets to ask no more
        else:
            self._await_request()

    def _may_drain(self) -> bool:
        return self._body is not None and self._body.may_be_drained

    def _begin_to_drain(self) -> None:
        self._reading = _DRAIN
        self._proxy.wheel.expire_in(self, self._proxy.settings.body_timeout_s)
        self._resume()
        data, self._buffer = self._buffer, b""
        self.data_received(data)

    def _drain(self, data: bytes, body: IncomingBody) -> None:
        _, self._buffer = body.take(data)
        if body.ended:
            self._await_next()

    def leave_to(self, end: TunnelEnd) -> bytes:
        """Let ``end`` have the transport; return what the client has sent ahead."""
        self.deadline = NEVER
        end.full = self._writing_paused
        end.heard_all = self._half_closed
        end.connection_made(self._transport)
        self._transport.set_protocol(end)
        ahead, self._buffer = self._buffer, b""
        return ahead

    def read_body(self, min_bytes_s: int) -> None:
        """Let the request body come for the first time, and tell a client that waits for it.

        One that comes slower than ``min_bytes_s`` on average is given up; 0 means no limit.
        """
        body = self._body
        if body is None:
            return
        self._reading = _BODY
        data, self._buffer = self._buffer, b""
        if body.expects_continue and not data:
            self._transport.write(_CONTINUE)
        body.begin(self._proxy.loop.time(), min_bytes_s)
        self._await_body(body)
        self._resume()
        if data:
            self.data_received(data)

    def pause_body(self) -> None:
        """Hold the request body back."""
        if self._body is not None:
            self._body.paused = True
        self._hold_back()
        self._await_client()

    def resume_body(self) -> None:
        """Let more of the request body come."""
        body = self._body
        if body is None:
            return
        body.paused = False
        if self._reading is _BODY:
            self._await_body(body)
        if body.has_chunks:
            self._proxy.loop.call_soon(self._read_on, body)
        else:
            self._read_on(body)

    # -- closing and holding back

    def _await_request(self) -> None:
        self._proxy.wheel.expire_in(self, self._proxy.idle_timeout_s)
        self._resume()
        if self._buffer:
            self._proxy.loop.call_soon(self._read_next)

    def _read_next(self) -> None:
        """Take the next request from what came ahead."""
        if self._reading is _HEAD and self._buffer and not self._transport.is_closing():
            data, self._buffer = self._buffer, b""
            self.data_received(data)

    def _hold_back(self) -> None:
        if not self._held_back and not self._transport.is_closing():
            self._held_back = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._held_back and not self._transport.is_closing():
            self._held_back = False
            self._transport.resume_reading()

    def _linger(self) -> None:
        """Say no more, but read on for a moment: closing with unread bytes would reset the
        connection and could destroy the answer on its way (RFC 9112 section 9.6)."""
        self._reading = _NOTHING
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        body_timeout_s = self._proxy.settings.body_timeout_s
        self._proxy.wheel.expire_in(self, body_timeout_s if self._writing_paused else _LINGER_S)

    def _discard(self, data: bytes) -> None:
        """Drop what comes in the end, but take no more than there is reason for."""
        self._linger_bytes -= len(data)
        if self._linger_bytes < 0:
            self._hold_back()

    def _finish(self) -> None:
        """Close once everything is sent; a client that takes nothing is waited for only so long."""
        self._reading = _NOTHING
        self._await_taking()
        self._transport.close()

    def _close(self) -> None:
        self._reading = _NOTHING
        self._transport.abort()

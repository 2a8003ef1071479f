"""The upstream side: one HTTP/1.1 connection to a target, used for one exchange after another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.proxy.chunked import ChunkedDecoder, chunk, last_chunk
from gateway.proxy.deadlines import NEVER, DeadlineWheel
from gateway.proxy.http1 import (
    CHUNKED,
    NO_BODY,
    UNTIL_CLOSE,
    HeadLimits,
    MessageError,
    ResponseHead,
    parse_response_head,
)

if TYPE_CHECKING:
    from gateway.proxy.exchange import Exchange
    from gateway.proxy.pool import Pool, PoolKey, UpstreamPools
    from gateway.proxy.tunnel import TunnelEnd
    from gateway.snapshot import Service


MUCH_AT_ONCE_BYTES = 131_072
"""Of a body: after so much in one piece there may be as much again, and others have their turn.

uvloop reads up to 32 pieces of 256 KB without looking for anything else to do.
"""

_INTERIM_LIMIT = 64
"""Most 1xx responses before one response."""


class UpstreamConnection(asyncio.Protocol):
    """Sends requests and reads responses; between two exchanges it waits in its pool."""

    __slots__ = (
        "_body_left",
        "_buffer",
        "_decoder",
        "_exchange",
        "_head",
        "_in_body",
        "_interim",
        "_limits",
        "_loop",
        "_pools",
        "_reading_paused",
        "_requests",
        "_service",
        "_wheel",
        "deadline",
        "pool",
        "pool_key",
        "slot_at",
        "transport",
        "writing_paused",
    )

    transport: asyncio.Transport
    pool: Pool
    _service: Service  # of the current exchange

    def __init__(
        self, pools: UpstreamPools, pool_key: PoolKey, wheel: DeadlineWheel, limits: HeadLimits
    ) -> None:
        self.pool_key = pool_key
        self.deadline = NEVER
        self.slot_at = NEVER
        self._pools = pools
        self._wheel = wheel
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._exchange: Exchange | None = None
        self._head: ResponseHead | None = None  # of the last response to anything but HEAD
        self._requests = 0
        self._buffer = b""
        self._in_body = False
        self._body_left = 0
        self._decoder: ChunkedDecoder | None = None
        self._interim = (0, 0)  # for which request how many 1xx have come
        self._reading_paused = False  # by the exchange
        self.writing_paused = False  # this upstream takes no more for now

    @property
    def reused(self) -> bool:
        """Whether an earlier request went over this connection."""
        return self._requests > 1

    # -- sending

    def send_request(self, exchange: Exchange, head: bytes, service: Service) -> None:
        """Begin an exchange; the body, if the request has one, follows."""
        self._exchange = exchange
        self._service = service
        self._requests += 1
        self.deadline = NEVER
        self.transport.write(head)
        if exchange.request_sent:
            self._expect_read()

    def send_body(self, data: bytes, *, chunked: bool) -> None:
        """Send more of the request body."""
        self.transport.write(chunk(data) if chunked else data)

    def end_body(self, *, chunked: bool, trailers: bytes = b"") -> None:
        """Mark the end of the request body; from now on a response is due."""
        if chunked:
            self.transport.write(last_chunk(trailers))
        if not self.writing_paused:
            self._expect_read()

    def pause_reading(self) -> None:
        """Read no further: the client is slower than this upstream. The read timeout rests too."""
        self._reading_paused = True
        self.deadline = NEVER
        self._hold_back()

    def resume_reading(self) -> None:
        """Read on."""
        self._reading_paused = False
        self._expect_read()
        if self._has_chunks():
            self._loop.call_soon(self._read_on)
        self._resume()

    def rest(self) -> None:
        """Wait in the pool for the next exchange."""
        self._wheel.expire_in(self, self._pools.idle_timeout_s)
        self._pools.release(self)

    def leave_to(self, end: TunnelEnd) -> bytes:
        """Let ``end`` have the transport: this connection never sees a pool again."""
        self._exchange = None
        self.deadline = NEVER
        end.full = self.writing_paused
        end.connection_made(self.transport)
        self.transport.set_protocol(end)
        return b""

    def close(self) -> None:
        """Close at once; the exchange, if any, is not told."""
        self._exchange = None
        self.pool.idle.pop(self, None)  # now: the transport tells of its end only later
        self.transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter the books of the pools."""
        self.transport = transport  # type: ignore[assignment]  # TCP gives a full Transport
        self._pools.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange, if there is one: well, when the response was to end by closing."""
        self._wheel.forget(self)
        self._pools.closed(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self._in_body and self._body_left == UNTIL_CLOSE and exc is None:
            exchange.on_response_body([], ended=True)
        elif self._in_body:
            exchange.on_response_cut("connection closed within the response body")
        else:
            exchange.on_no_response("connection closed before a response", self, timed_out=False)

    def eof_received(self) -> bool:
        """Close our side as well: half-open connections serve no one."""
        self.pool.idle.pop(self, None)
        return False

    def pause_writing(self) -> None:
        """Hold back the request body: this upstream is slower than the client."""
        self.writing_paused = True
        if self._exchange is not None:
            self._wheel.expire_in(self, self._service.write_timeout_s)
            self._exchange.on_upstream_full()

    def resume_writing(self) -> None:
        """Let the request body come again."""
        self.writing_paused = False
        exchange = self._exchange
        if exchange is not None:
            if exchange.request_sent:
                self._expect_read()
            else:
                self.deadline = NEVER  # what is late now is the client
            exchange.on_upstream_drained()

    def on_deadline(self) -> None:
        """Close when idle for too long; else the read timeout has passed."""
        exchange = self._exchange
        was_in_body = self._in_body
        self.close()
        if exchange is None:
            return
        if was_in_body:
            exchange.on_response_cut("timed out within the response body")
        else:
            exchange.on_no_response("timed out", self, timed_out=True)

    def data_received(self, data: bytes) -> None:
        """Read a response head, then its body."""
        exchange = self._exchange
        if exchange is None:  # nothing was asked: this peer cannot be trusted with a request
            self.close()
            return
        try:
            if self._in_body:
                self._expect_read()
                self._read_body(data, exchange)
            else:
                self._read_head(self._buffer + data if self._buffer else data, exchange)
        except MessageError as error:
            in_body = self._in_body
            self.close()
            if in_body:
                exchange.on_response_cut(error.reason)
            else:
                exchange.on_bad_response(error.reason)

    # -- reading

    def _read_head(self, data: bytes, exchange: Exchange) -> None:
        head = parse_response_head(data, self._limits, exchange.sent_method, self._head)
        if head is None:
            self._buffer = data
            if exchange.request_sent:
                self._expect_read()
            return
        self._buffer = b""
        body = data[head.size :]
        if head.status < 200:
            self._read_interim(head, body, exchange)
            return
        if exchange.sent_method != b"HEAD":
            self._head = head
        length = 0 if head.body_length == NO_BODY else head.body_length
        if length == len(body):  # the whole response has come in one piece
            self._finish(keep_alive=head.keep_alive and exchange.request_sent)
            exchange.on_response_head(head, [body] if body else [], ended=True)
        else:
            self._begin_body(head, length, body, exchange)

    def _read_interim(self, head: ResponseHead, beyond: bytes, exchange: Exchange) -> None:
        """Pass a 1xx on (RFC 9110 section 15.2), but for a 100: we answer `Expect` ourselves."""
        if head.status == 101:
            exchange.on_upgrade(head, beyond, self)
            return
        request, number = self._interim
        number = number + 1 if request == self._requests else 1
        self._interim = (self._requests, number)
        if number > _INTERIM_LIMIT:
            raise MessageError("too many interim responses")
        if head.status != 100:
            exchange.on_interim_response(head)
        self._read_head(beyond, exchange)

    def _begin_body(self, head: ResponseHead, length: int, body: bytes, exchange: Exchange) -> None:
        self._body_left = length
        self._decoder = ChunkedDecoder() if length == CHUNKED else None
        pieces, ended = self._take_body(body)
        if self._has_chunks():
            self._hold_back()
            self._loop.call_soon(self._read_on)
        self._in_body = not ended
        if ended:
            self._finish(keep_alive=head.keep_alive and exchange.request_sent)
        else:
            self._expect_read()
        exchange.on_response_head(head, pieces, ended=ended)

    def _read_body(self, data: bytes, exchange: Exchange) -> None:
        pieces, ended = self._take_body(data)
        if len(data) >= MUCH_AT_ONCE_BYTES or self._has_chunks():
            self._hold_back()
            self._loop.call_soon(self._read_on)
        if ended:
            self._finish(keep_alive=exchange.response_head.keep_alive and exchange.request_sent)
        exchange.on_response_body(pieces, ended=ended)

    def _take_body(self, data: bytes) -> tuple[list[bytes], bool]:
        """Return the payload in ``data`` and whether the body ends with it."""
        decoder = self._decoder
        if decoder is not None:
            pieces, beyond = decoder.feed(data)
            if beyond:
                raise MessageError("bytes beyond the end of the response")
            if decoder.finished and decoder.trailers and self._exchange is not None:
                self._exchange.on_response_trailers(decoder.trailers)
            return pieces, decoder.finished
        if self._body_left != UNTIL_CLOSE:
            self._body_left -= len(data)
            if self._body_left < 0:
                raise MessageError("bytes beyond the end of the response")
        return [data] if data else [], self._body_left == 0

    def _read_on(self) -> None:
        """Read on after others had their turn: of a body, much may be here already.

        First the chunks that are, not all at once: they may be many.
        """
        if not self._reading_paused and self._has_chunks():
            self.data_received(b"")
        self._resume()

    def _has_chunks(self) -> bool:
        return self._decoder is not None and self._decoder.pending

    def _hold_back(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not (self.transport.is_closing() or self._reading_paused or self._has_chunks()):
            self.transport.resume_reading()

    def _finish(self, *, keep_alive: bool) -> None:
        """Part from the exchange, back into the pool where that is safe."""
        self._exchange = None
        self._in_body = False
        self._decoder = None
        limit = self._pools.requests_limit
        if keep_alive and not self.writing_paused and (not limit or self._requests < limit):
            self.rest()
        else:
            self.close()

    def _expect_read(self) -> None:
        self._wheel.expire_in(self, self._service.read_timeout_s)

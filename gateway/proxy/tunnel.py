"""Two connections that speak HTTP no more: what comes from one goes to the other, byte for byte.

After a 101 a `TunnelEnd` takes over each connection. It writes what it reads to the other one at
once, but reads no faster than that one takes. That there is no more to come is passed on, so either
side may go on speaking after the other has ended. When one connection is gone, the other is closed
as soon as it has taken what is left.

The service's timeouts are limits on idleness (proxying.md section 11): ``read_timeout`` on how long
both sides say nothing, ``write_timeout`` on how long one takes nothing of what waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gateway.proxy.deadlines import NEVER, DeadlineWheel

if TYPE_CHECKING:
    from gateway.proxy.exchange import Exchange
    from gateway.snapshot import Service


class Tunnelled(Protocol):
    """A connection that can be left to a tunnel."""

    def leave_to(self, end: TunnelEnd) -> bytes:
        """Let ``end`` have the transport; return what was read from it and never used."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """Strike the connection out: its end tells when it is gone."""
        ...


class Tunnel:
    """A pair of ends, and the clock of their silence. It lives as long as its connections."""

    __slots__ = (
        "_client",
        "_exchange",
        "_upstream",
        "deadline",
        "idle_s",
        "loop",
        "slot_at",
        "stall_s",
        "wheel",
    )

    def __init__(
        self,
        exchange: Exchange,
        service: Service,
        wheel: DeadlineWheel,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.deadline = NEVER
        self.slot_at = NEVER
        self.wheel = wheel
        self.loop = loop
        self.idle_s = service.read_timeout_s
        self.stall_s = service.write_timeout_s
        self._exchange = exchange

    def begin(self, client: Tunnelled, upstream: Tunnelled, first_words: bytes) -> None:
        """Take over both connections. The client gets ``first_words`` before all else."""
        self._client, self._upstream = TunnelEnd(self, client), TunnelEnd(self, upstream)
        from_client = client.leave_to(self._client)
        upstream.leave_to(self._upstream)
        self._client.connect(self._upstream)
        self._upstream.connect(self._client)
        self._client.transport.write(first_words)
        if from_client:
            self._client.data_received(from_client)
        if self._client.heard_all:
            self._client.eof_received()
        self.note_life()

    def note_life(self) -> None:
        """Begin to measure the silence anew."""
        self.wheel.expire_in(self, self.idle_s)

    def on_deadline(self) -> None:
        """End a tunnel in which nobody says anything, unless it is because nobody is read."""
        if self._client.full or self._upstream.full:
            self.deadline = NEVER
        else:
            self.cut(f"both sides silent for {self.idle_s:g} s, the service's read_timeout")

    def on_lost(self, end: TunnelEnd) -> None:
        """Close the other side too; the exchange ends with the client's."""
        self.deadline = NEVER
        self.wheel.forget(self)
        if end is self._client:
            self._exchange.ingress_bytes += end.received_bytes
            self._exchange.egress_bytes += self._upstream.received_bytes
        end.other.close_when_sent()

    def cut(self, reason: str) -> None:
        """Close both connections at once."""
        self._exchange.on_tunnel_cut(reason)
        self._client.transport.abort()
        self._upstream.transport.abort()


class TunnelEnd(asyncio.Protocol):
    """One side of a tunnel: reads from its own connection, writes to the other one's."""

    __slots__ = (
        "_connection",
        "_is_lost",
        "_pass_on",
        "_tunnel",
        "_unsent_bytes",
        "deadline",
        "full",
        "heard_all",
        "other",
        "received_bytes",
        "slot_at",
        "transport",
    )

    other: TunnelEnd
    transport: asyncio.Transport
    _pass_on: Callable[[bytes], None]

    def __init__(self, tunnel: Tunnel, connection: Tunnelled) -> None:
        self.deadline = NEVER  # by which this side has to take something
        self.slot_at = NEVER
        self.full = False  # this side takes no more for now
        self.heard_all = False  # this side has no more to say
        self.received_bytes = 0
        self._tunnel = tunnel
        self._connection = connection
        self._is_lost = False
        self._unsent_bytes = 0

    def connect(self, other: TunnelEnd) -> None:
        """Read for ``other`` from now on. Both ends have their transports."""
        self.other = other
        self._pass_on = other.transport.write
        if self.full:
            self._await_progress()
        if other.full:
            self.hold_back()
        else:
            self.go_on()

    def hold_back(self) -> None:
        """Read no further for now."""
        if not self.heard_all and not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read on."""
        if not self.heard_all and not self.transport.is_closing():
            self.transport.resume_reading()

    def close_when_sent(self) -> None:
        """Close in good order, unless that takes longer than a stall may last."""
        if not self._is_lost:
            self._pass_on = _drop
            self.transport.close()
            self._await_progress()

    def on_deadline(self) -> None:
        """Give up a side that has taken nothing since the deadline was set."""
        if self._unsent_now() < self._unsent_bytes:
            self._await_progress()
        else:
            stall_s = self._tunnel.stall_s
            self._tunnel.cut(f"a side took nothing for {stall_s:g} s, the service's write_timeout")

    def _unsent_now(self) -> int:
        """Return what waits for this side; a transport that closes need not know any more."""
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def _await_progress(self) -> None:
        self._unsent_bytes = self._unsent_now()
        self._tunnel.wheel.expire_in(self, self._tunnel.stall_s)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        self.transport = transport  # type: ignore[assignment]  # TCP and TLS give a full Transport

    def data_received(self, data: bytes) -> None:
        """Write it to the other side."""
        tunnel = self._tunnel
        tunnel.deadline = tunnel.loop.time() + tunnel.idle_s  # later than before: no need to watch
        self.received_bytes += len(data)
        self._pass_on(data)

    def eof_received(self) -> bool:
        """Tell the other side; end both when that has no more to say either, or cannot be told."""
        self.heard_all = True
        other = self.other
        if not other.heard_all and other.transport.can_write_eof():
            if not other.transport.is_closing():
                other.transport.write_eof()
            return self.transport.can_write_eof()  # TLS closes both ways
        self.close_when_sent()
        other.close_when_sent()
        return False

    def pause_writing(self) -> None:
        """Take no more from the other side for now."""
        self.full = True
        self.other.hold_back()
        self._await_progress()

    def resume_writing(self) -> None:
        """Take more."""
        self.full = False
        if not self.transport.is_closing():
            self.deadline = NEVER
            self.other.go_on()
            self._tunnel.note_life()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side as well."""
        self._is_lost = True
        self.deadline = NEVER
        self._tunnel.wheel.forget(self)
        self._tunnel.on_lost(self)
        self._connection.connection_lost(exc)


def _drop(_data: bytes) -> None:
    """Write to a side that is gone."""

"""A transport without a socket: the case says what comes in, and what goes out is kept."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from fuzz.still_loop import StillLoop

_END = b""


class StillTransport(asyncio.Transport):
    """One connection, as the proxy sees it and as its other side does.

    The other side calls `say`, `end`, `reset`, `stall` and `go_on`, and has `heard` bytes. It is
    ``ended`` when it was told that there is no more, and ``was_reset`` when it was cut off.
    """

    def __init__(self, loop: StillLoop, address: str) -> None:
        super().__init__()
        self._loop = loop
        self._address = address
        self._protocol: asyncio.Protocol | None = None
        self._inbox: deque[bytes] = deque()
        self._unsent = b""
        self._high_bytes = 65_536
        self._paused = False  # the protocol reads no more
        self._told_full = False
        self._stalled = False
        self._closing = False
        self._half_closed = False
        self._lost = False
        self._resets_on_close = False
        self.read = bytearray()  # what the proxy has read
        self.written = bytearray()  # what the proxy has written
        self.heard = bytearray()
        self.other_ended = False  # the proxy was told that the other side says no more
        self.ended = False
        self.was_reset = False
        self.most_unsent_bytes = 0

    def start(self, protocol: asyncio.Protocol) -> None:
        """Let ``protocol`` have the connection."""
        self._protocol = protocol
        protocol.connection_made(self)

    @property
    def is_over(self) -> bool:
        """Whether the proxy has struck the connection out."""
        return self._lost

    # -- the other side

    def say(self, words: bytes) -> None:
        """Send a piece."""
        if not self.other_ended and words:
            self._inbox.append(words)
            self._loop.call_soon(self._read_next)

    def end(self) -> None:
        """Say that there is no more."""
        self._inbox.append(_END)
        self._loop.call_soon(self._read_next)

    def reset(self) -> None:
        """Be gone."""
        self._inbox.clear()
        self.was_reset = True
        self._lose(ConnectionResetError())

    def stall(self) -> None:
        """Take no more."""
        self._stalled = True

    def go_on(self) -> None:
        """Take what waits, and more."""
        self._stalled = False
        self._loop.call_soon(self._flush)

    # -- asyncio.Transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell of the addresses, and pass for the socket too: it may only be told to reset."""
        known: dict[str, Any] = {
            "peername": (self._address, 40_000),
            "sockname": ("192.0.2.80", 80),
            "socket": self,
        }
        return known.get(name, default)

    def setsockopt(self, *_linger: Any) -> None:
        """Reset when closed: nothing else is ever asked of the socket."""
        self._resets_on_close = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol have the connection."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def is_closing(self) -> bool:
        """Tell whether it is closed or about to be."""
        return self._closing

    def pause_reading(self) -> None:
        """Let what comes wait."""
        self._paused = True

    def resume_reading(self) -> None:
        """Let it come."""
        self._paused = False
        self._loop.call_soon(self._read_next)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set from how many bytes on writing is to be paused."""
        del low
        self._high_bytes = high or 0

    def get_write_buffer_size(self) -> int:
        """Return how much the other side has not taken."""
        return len(self._unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep what the other side does not take."""
        if self._half_closed:
            raise RuntimeError("write after write_eof")
        if self._closing or self._lost:
            return
        self.written += data
        if not self._stalled and not self._unsent:
            self.heard += data
            return
        self._unsent += data
        self.most_unsent_bytes = max(self.most_unsent_bytes, len(self._unsent))
        if len(self._unsent) > self._high_bytes and not self._told_full:
            self._told_full = True
            self._protocol_of().pause_writing()

    def can_write_eof(self) -> bool:
        """Tell that it can."""
        return True

    def write_eof(self) -> None:
        """Tell the other side that there is no more, once it has taken what waits."""
        if self._closing:
            return
        self._half_closed = True
        if not self._unsent:
            self.ended = True

    def close(self) -> None:
        """Close once everything is sent."""
        if not self._closing:
            self._closing = True
            if not self._unsent:
                self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Close at once."""
        self._unsent = b""
        self._lose(None)

    # -- in between

    def _protocol_of(self) -> asyncio.Protocol:
        if self._protocol is None:
            raise AssertionError("used before it was started")
        return self._protocol

    def _read_next(self) -> None:
        """Hand one piece over; the rest has its turn later."""
        if self._paused or self._closing or self.other_ended or not self._inbox:
            return
        words = self._inbox.popleft()
        if not words:
            self.other_ended = True
            if not self._protocol_of().eof_received():
                self.close()
            return
        self.read += words
        self._protocol_of().data_received(words)
        if self._inbox:
            self._loop.call_soon(self._read_next)

    def _flush(self) -> None:
        if self._stalled or self._lost:
            return
        self.heard += self._unsent
        self._unsent = b""
        if self._told_full:
            self._told_full = False
            self._protocol_of().resume_writing()
        if self._closing:
            self._lose(None)
        elif self._half_closed:
            self.ended = True

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            if self._resets_on_close:
                self.was_reset = True
            self.ended = not self.was_reset
            self._loop.call_soon(self._protocol_of().connection_lost, error)

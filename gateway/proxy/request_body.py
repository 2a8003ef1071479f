"""The body of a request on its way upstream: kept until it is whole, or passed on as it comes.

Which of the two is the route's to say (``request_buffering``, proxying.md section 10). A body that
is kept is sent with its length, to a target that is picked once it is there, and again to the next
target if need be. One that is passed on keeps its framing, and a slow upstream slows the client.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from gateway.plugins.request import BodyTooLarge
from gateway.proxy.http1 import CHUNKED
from gateway.proxy.spool import READ_BYTES, SpoolError, SpoolFile, SpoolRoom

if TYPE_CHECKING:
    from gateway.proxy.upstream import UpstreamConnection


class Sending(Protocol):
    """The exchange that a body belongs to."""

    request_sent: bool
    """Whether the whole request has gone out on the current connection."""

    @property
    def upstream(self) -> UpstreamConnection | None:
        """The connection that the request goes over, if there is one at the moment."""
        ...

    def hold_body(self) -> None:
        """Let no more of the body come for now."""
        ...

    def resume_body(self) -> None:
        """Let more of the body come."""
        ...

    def on_body_whole(self) -> None:
        """Hear that the body is there, from its first to its last byte."""
        ...

    def on_body_lost(self, error: SpoolError) -> None:
        """Hear that the body cannot be kept."""
        ...


class RequestBody(Protocol):
    """What an exchange does with the body of its request."""

    @property
    def drops_trailers(self) -> bool:
        """Whether what comes behind the body goes no further."""
        ...

    @property
    def framing_line(self) -> bytes:
        """The header line that tells the upstream how long the body is."""
        ...

    @property
    def may_be_repeated(self) -> bool:
        """Whether all of it can be sent once more."""
        ...

    def take(self, data: bytes) -> None:
        """Take a piece from the client."""
        ...

    def end(self, trailers: bytes) -> None:
        """Hear that there is no more, but for ``trailers``: header lines, each led by CRLF."""
        ...

    def send(self) -> None:
        """Begin to send on the exchange's connection, which has just sent the head."""
        ...

    def on_upstream_full(self) -> None:
        """Hear that the connection takes no more for now."""
        ...

    def on_upstream_drained(self) -> None:
        """Hear that it takes more again."""
        ...

    def close(self) -> None:
        """Free what it takes."""
        ...


class KeptBody:
    """A body that is sent when it is whole.

    Its first ``_file_bytes`` are in a spool file, the rest, about ``limit_bytes``, is in memory.
    Trailers are dropped: a message with a length has no place for them.
    """

    __slots__ = (
        "_ended",
        "_exchange",
        "_file",
        "_file_bytes",
        "_limit_bytes",
        "_memory_bytes",
        "_pieces",
        "_position",
        "_room",
        "_size",
    )

    may_be_repeated = True
    drops_trailers = True

    def __init__(self, exchange: Sending, room: SpoolRoom, limit_bytes: int) -> None:
        self._exchange = exchange
        self._room = room
        self._limit_bytes = limit_bytes
        self._pieces: list[bytes] = []
        self._memory_bytes = 0
        self._file: SpoolFile | None = None
        self._file_bytes = 0
        self._size = 0
        self._ended = False
        self._position = 0  # of what is sent next: bytes of the file

    @property
    def framing_line(self) -> bytes:
        """A length, whatever framing the client chose."""
        return b"\r\nContent-Length: %d\r\n\r\n" % self._size

    def in_memory(self) -> bytes:
        """Return it. Raises BodyTooLarge when some of it is on disk."""
        if self._file is not None:
            raise BodyTooLarge(f"a body of {self._size} bytes is not held in memory")
        return b"".join(self._pieces)

    def take(self, data: bytes) -> None:
        """Keep a piece."""
        self._pieces.append(data)
        self._size += len(data)
        self._memory_bytes += len(data)
        if self._memory_bytes > self._limit_bytes:
            self._spill()

    def end(self, trailers: bytes) -> None:
        """Tell the exchange, once nothing is being written."""
        del trailers
        self._ended = True
        if self._file is None or not self._file.busy:
            self._exchange.on_body_whole()

    def send(self) -> None:
        """Send it from its first byte."""
        self._position = 0
        self._send_on()

    def on_upstream_full(self) -> None:
        """Nothing: `_send_on` looks for itself."""

    def on_upstream_drained(self) -> None:
        """Send more."""
        if not self._exchange.request_sent:
            self._send_on()

    def close(self) -> None:
        """Free memory and file."""
        self._pieces, self._memory_bytes = [], 0
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        """Move what is in memory to the file; while that lasts, as much again may come."""
        if self._file is None:
            self._file = SpoolFile(self._room)
        if self._file.busy:
            self._exchange.hold_body()
            return
        pieces, self._pieces = self._pieces, []
        self._memory_bytes = 0
        try:
            self._file.write(self._file_bytes, pieces, self._on_spilled)
        except SpoolError as error:
            self._exchange.on_body_lost(error)
        else:
            self._file_bytes += sum(map(len, pieces))

    def _on_spilled(self, error: SpoolError | None) -> None:
        if error is not None:
            self._exchange.on_body_lost(error)
        elif self._ended:
            self._exchange.on_body_whole()
        else:
            self._exchange.resume_body()
            if self._memory_bytes > self._limit_bytes:
                self._spill()

    def _send_on(self) -> None:
        """Send as much as the connection takes: what is in the file, then the rest."""
        connection = self._exchange.upstream
        file = self._file
        if connection is None or connection.writing_paused:
            return
        if file is not None and self._position < self._file_bytes:
            if not file.busy:  # with what a connection that failed has asked for
                size = min(READ_BYTES, self._file_bytes - self._position)
                file.read(self._position, size, partial(self._on_read, connection))
            return
        self._pieces = [b"".join(self._pieces)]  # there may be very many, of a byte each
        connection.send_body(self._pieces[0], chunked=False)
        self._exchange.request_sent = True
        connection.end_body(chunked=False)

    def _on_read(self, asked_for: UpstreamConnection, data: bytes | SpoolError) -> None:
        if isinstance(data, SpoolError):
            self._exchange.on_body_lost(data)
            return
        if asked_for is self._exchange.upstream:
            self._position += len(data)
            asked_for.send_body(data, chunked=False)
        self._send_on()


class StreamedBody:
    """A body that is passed on as it comes; what comes before there is a connection waits."""

    __slots__ = (
        "_begun",
        "_chunked",
        "_exchange",
        "_length",
        "_limit_bytes",
        "_pieces",
        "_trailers",
        "_waiting_bytes",
    )

    drops_trailers = False

    def __init__(self, exchange: Sending, length: int, limit_bytes: int) -> None:
        self._exchange = exchange
        self._length = length
        self._chunked = length == CHUNKED
        self._limit_bytes = limit_bytes
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._trailers: bytes | None = None  # None until the end
        self._begun = False

    @property
    def may_be_repeated(self) -> bool:
        """Whether nothing has been sent yet."""
        return not self._begun

    @property
    def framing_line(self) -> bytes:
        """The framing that the client chose."""
        if self._chunked:
            return b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        return b"\r\nContent-Length: %d\r\n\r\n" % self._length

    def take(self, data: bytes) -> None:
        """Send a piece on, or let it wait for a connection."""
        connection = self._exchange.upstream
        if connection is not None:
            connection.send_body(data, chunked=self._chunked)
            return
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > self._limit_bytes:
            self._exchange.hold_body()

    def end(self, trailers: bytes) -> None:
        """Pass on that there is no more."""
        self._trailers = trailers
        if self._begun:
            self._send_end()

    def send(self) -> None:
        """Send what has waited, and let more come as fast as the connection takes it."""
        self._begun = True
        pieces, self._pieces = self._pieces, []
        if pieces:
            self.take(b"".join(pieces))  # at once: there may be very many, of a byte each
        connection = self._exchange.upstream
        if self._trailers is not None:
            self._send_end()
        elif connection is not None and not connection.writing_paused:
            self._exchange.resume_body()

    def on_upstream_full(self) -> None:
        """Take the body no faster than the upstream does."""
        self._exchange.hold_body()

    def on_upstream_drained(self) -> None:
        """Take more of the body."""
        self._exchange.resume_body()

    def close(self) -> None:
        """Nothing is kept."""

    def _send_end(self) -> None:
        connection = self._exchange.upstream
        if connection is not None and self._trailers is not None:
            self._exchange.request_sent = True
            connection.end_body(chunked=self._chunked, trailers=self._trailers)

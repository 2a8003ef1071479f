"""What a client has not taken of its response yet, so that the upstream need not wait for it.

A response is sent on as it comes. Only when the client takes no more for now is the rest kept, in
memory and beyond that in a spool file (``response_buffering``, proxying.md section 10). Where that
has no room either, the upstream is read no faster than the client takes what there is.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from gateway.proxy.spool import READ_BYTES, SpoolError, SpoolFile, SpoolRoom


class Relaying(Protocol):
    """The exchange that a backlog belongs to."""

    def relay(self, pieces: list[bytes], *, ended: bool) -> None:
        """Send pieces of the response to the client."""
        ...

    def hold_upstream(self) -> None:
        """Read no more from the upstream for now."""
        ...

    def resume_upstream(self) -> None:
        """Read on."""
        ...

    def on_backlog_sent(self) -> None:
        """Hear that the client has got all that has come, and takes more."""
        ...

    def on_backlog_lost(self, error: SpoolError) -> None:
        """Hear that some of the response cannot be read again."""
        ...

    def note_no_spool(self, error: SpoolError) -> None:
        """Hear that the upstream has to wait after all, and why."""
        ...


class Backlog:
    """A queue of bytes: the oldest may be in a file, the newest are in memory.

    Positions of the file are used again once all that it holds has been sent, so a file never
    holds more than ``file_limit_bytes``.
    """

    __slots__ = (
        "_client_full",
        "_ended",
        "_exchange",
        "_file",
        "_file_limit_bytes",
        "_limit_bytes",
        "_memory_bytes",
        "_pieces",
        "_read_to",
        "_room",
        "_upstream_held",
        "_written_to",
    )

    def __init__(
        self, exchange: Relaying, room: SpoolRoom, limit_bytes: int, file_limit_bytes: int
    ) -> None:
        self._exchange = exchange
        self._room = room
        self._limit_bytes = limit_bytes
        self._file_limit_bytes = file_limit_bytes
        self._pieces: list[bytes] = []
        self._memory_bytes = 0
        self._file: SpoolFile | None = None
        self._read_to = 0
        self._written_to = 0
        self._client_full = True
        self._upstream_held = False
        self._ended = False

    def take(self, pieces: list[bytes], *, ended: bool) -> None:
        """Keep more of the response; ``ended`` tells that it is the last."""
        self._pieces += pieces
        self._memory_bytes += sum(map(len, pieces))
        self._ended = ended
        self._go_on()

    def on_client_full(self) -> None:
        """Hear that the client takes no more for now."""
        self._client_full = True

    def on_client_drained(self) -> None:
        """Send on."""
        self._client_full = False
        self._go_on()

    def close(self) -> None:
        """Free memory and file."""
        self._pieces, self._memory_bytes = [], 0
        if self._file is not None:
            self._file.close()

    def _go_on(self) -> None:
        """Do what can be done now: send, write to the file, and read from the upstream or not."""
        if not self._client_full:
            self._send()
        if self._memory_bytes > self._limit_bytes and not self._ended:
            self._spill()
        if self._memory_bytes > self._limit_bytes:
            self._hold_upstream()
        else:
            self._let_upstream_go_on()

    def _send(self) -> None:
        """Send what is in the file piece by piece, then all that is in memory."""
        if self._file is not None and self._file.busy:
            return
        if self._file is not None and self._read_to < self._written_to:
            size = min(READ_BYTES, self._written_to - self._read_to)
            self._file.read(self._read_to, size, self._on_read)
            return
        self._read_to = self._written_to = 0
        pieces, self._pieces, self._memory_bytes = self._pieces, [], 0
        if pieces or self._ended:
            self._exchange.relay(pieces, ended=self._ended)
        if not self._ended and not self._client_full:
            self._exchange.on_backlog_sent()

    def _on_read(self, data: bytes | SpoolError) -> None:
        if isinstance(data, SpoolError):
            self._exchange.on_backlog_lost(data)
            return
        self._read_to += len(data)
        self._exchange.relay([data], ended=False)
        self._go_on()

    def _spill(self) -> None:
        """Move what is in memory to the file, if that is possible now."""
        if self._file is None:
            self._file = SpoolFile(self._room)
        written_to = self._written_to + self._memory_bytes
        if self._file.busy or written_to > self._file_limit_bytes:
            return
        try:
            self._file.write(
                self._written_to, self._pieces, partial(self._on_written, self._pieces)
            )
        except SpoolError as error:
            self._do_without_more_file(error)
        else:
            self._written_to = written_to
            self._pieces, self._memory_bytes = [], 0

    def _on_written(self, pieces: list[bytes], error: SpoolError | None) -> None:
        if error is not None:
            size = sum(map(len, pieces))
            self._written_to -= size
            self._memory_bytes += size
            self._pieces[:0] = pieces
            self._do_without_more_file(error)
        self._go_on()

    def _do_without_more_file(self, error: SpoolError) -> None:
        self._file_limit_bytes = 0
        self._exchange.note_no_spool(error)

    def _hold_upstream(self) -> None:
        if not self._upstream_held:
            self._upstream_held = True
            self._exchange.hold_upstream()

    def _let_upstream_go_on(self) -> None:
        if self._upstream_held:
            self._upstream_held = False
            self._exchange.resume_upstream()

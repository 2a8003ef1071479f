"""The body of a request as it comes from the client: where it ends, and how long it is waited for.

Without I/O; `DownstreamConnection` reads the bytes.
"""

from __future__ import annotations

from gateway.proxy.chunked import ChunkedDecoder
from gateway.proxy.http1 import CHUNKED, RequestFields

_DRAINED_BYTES = 65_536


class IncomingBody:
    """What is still to come of a body.

    ``expects_continue`` tells that the client waits for our 100 before it sends any of it,
    ``paused`` that nobody takes more of it for now.
    """

    __slots__ = (
        "_decoder",
        "_left",
        "_min_bytes_s",
        "_size",
        "_wanted_since",
        "expects_continue",
        "paused",
    )

    def __init__(self, fields: RequestFields) -> None:
        self._left = fields.body_length
        self._decoder = ChunkedDecoder() if fields.body_length == CHUNKED else None
        self._size = 0
        self._min_bytes_s = 0
        self._wanted_since = 0.0
        self.expects_continue = fields.expect_continue
        self.paused = False

    def begin(self, now: float, min_bytes_s: int) -> None:
        """Measure from ``now`` on how fast it comes; ``min_bytes_s`` is the least, 0 for none."""
        self._wanted_since = now
        self._min_bytes_s = min_bytes_s
        self.expects_continue = False

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return self._left == 0 if self._decoder is None else self._decoder.finished

    @property
    def has_chunks(self) -> bool:
        """Whether there are chunks at hand that `take` has not taken yet."""
        return self._decoder is not None and self._decoder.pending

    @property
    def trailers(self) -> bytes:
        """The header lines behind it that may travel on, each led by CRLF."""
        return b"" if self._decoder is None else self._decoder.trailers

    @property
    def may_be_drained(self) -> bool:
        """Whether it is cheaper to read what is left and drop it than to connect anew.

        A client that still waits for our 100 may send its body or not: nobody could tell what
        comes next for the next request.
        """
        return 0 <= self._left <= _DRAINED_BYTES and not self.expects_continue

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the payload in ``data``, and what follows the body.

        :raises MessageError: when its framing is broken.
        """
        if self._decoder is not None:
            pieces, beyond = self._decoder.feed(data)
            payload = b"".join(pieces)
        else:
            payload, beyond = data[: self._left], data[self._left :]
            self._left -= len(payload)
        self._size += len(payload)
        return payload, beyond

    def patience_s(self, now: float, timeout_s: float) -> float:
        """Return how long the next piece is waited for.

        No gap may be longer than ``timeout_s``; a body with a least rate has as long in all, and
        the time that its bytes are worth at that rate.
        """
        if not self._min_bytes_s:
            return timeout_s
        took_s = now - self._wanted_since
        return min(timeout_s, timeout_s + self._size / self._min_bytes_s - took_s)

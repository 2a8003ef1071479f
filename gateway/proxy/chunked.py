"""Chunked bodies without I/O: bytes in, payload out, and the other way (RFC 9112 section 7.1)."""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.proxy.http1 import TOKEN, MessageError

_CHUNK_LINE_LIMIT = 256
_TRAILER_LIMIT = 8192
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?")
_TRAILER_LINE = re.compile(TOKEN + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+")


_CHUNKS_AT_ONCE = 1024

_NO_TRAILER = re.compile(
    rb"(?i)(?:connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade"  # of one hop
    rb"|content-(?:length|encoding|type|range)|host|max-forwards|expect|range"
    rb"|cache-control|pragma|if-.*|age|date|expires|location|retry-after|vary|warning"
    rb"|authorization|www-authenticate|cookie|set-cookie"
    rb"|via|forwarded|x-forwarded-.*|x-real-ip|x-accel-.*"
    rb"|x-(?:gateway|kong)-.*):.*"
)
"""Fields that must not come late: who frames, routes, authenticates or caches needs them before the
body (RFC 9110 section 6.5.1), and what we say of the client must not be said by the client."""


class ChunkedDecoder:
    """Takes a chunked body apart (RFC 9112 section 7.1); extensions are dropped.

    ``pending`` tells that there are more chunks at hand than are taken at once: feed it again, if
    need be with nothing. ``trailers`` are those header lines behind the body that may travel on,
    each led by CRLF.
    """

    __slots__ = (
        "_buffer",
        "_in_trailer",
        "_left",
        "_trailer_size",
        "finished",
        "pending",
        "trailers",
    )

    def __init__(self) -> None:
        self.finished = False
        self.pending = False
        self.trailers = b""
        self._buffer = b""
        self._left = 0  # bytes of the current chunk still to come, its CRLF included
        self._in_trailer = False
        self._trailer_size = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return the payload pieces in ``data`` and what follows the end of the body.

        :raises MessageError: when the framing is not exactly as the grammar has it.
        """
        pieces: list[bytes] = []
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        position = 0
        while not self.finished:
            if self._left:
                position, complete = self._take_chunk(data, position, pieces)
            else:
                if not self._in_trailer:
                    position = _take_whole_chunks(data, position, pieces)
                position, complete = self._take_line(data, position)
            self.pending = complete and not self.finished and len(pieces) >= _CHUNKS_AT_ONCE
            if self.pending or not complete:
                self._buffer = data[position:]
                return pieces, b""
        return pieces, data[position:]

    def _take_chunk(self, data: bytes, position: int, pieces: list[bytes]) -> tuple[int, bool]:
        """Take payload, then the chunk's CRLF; False when ``data`` ends before it is complete."""
        payload = self._left - 2
        available = len(data) - position
        if payload > 0:
            taken = min(payload, available)
            if taken:
                pieces.append(data[position : position + taken])
            self._left -= taken
            return position + taken, taken == payload
        end = data[position : position + 2]
        if not b"\r\n".startswith(end):
            raise MessageError("chunk without its CRLF")
        if len(end) < 2:
            return position, False
        self._left = 0
        return position + 2, True

    def _take_line(self, data: bytes, position: int) -> tuple[int, bool]:
        """Take a chunk-size or trailer line; False when ``data`` ends before its CRLF."""
        end = data.find(b"\r\n", position)
        if end < 0:
            limit = _TRAILER_LIMIT if self._in_trailer else _CHUNK_LINE_LIMIT
            if len(data) - position > limit or data.find(b"\n", position) >= 0:
                raise MessageError("malformed chunk")
            return position, False
        line = data[position:end]
        if self._in_trailer:
            self._read_trailer(line)
        else:
            self._read_size(line)
        return end + 2, True

    def _read_size(self, line: bytes) -> None:
        size = _chunk_size(line)
        if size:
            self._left = size + 2
        else:
            self._in_trailer = True

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self.finished = True
            return
        self._trailer_size += len(line)
        if self._trailer_size > _TRAILER_LIMIT or _TRAILER_LINE.fullmatch(line) is None:
            raise MessageError("malformed trailer")
        if _NO_TRAILER.fullmatch(line) is None:
            self.trailers += b"\r\n" + line


def _take_whole_chunks(data: bytes, position: int, pieces: list[bytes]) -> int:
    """Take the chunks that are complete in ``data``: a body may have very many, very small ones."""
    while len(pieces) < _CHUNKS_AT_ONCE and (end := data.find(b"\r\n", position)) >= 0:
        size = _chunk_size(data[position:end])
        payload = end + 2
        following = payload + size
        if not size or data[following : following + 2] != b"\r\n":
            break
        pieces.append(data[payload:following])
        position = following + 2
    return position


@lru_cache(maxsize=1024)
def _chunk_size(line: bytes) -> int:
    match = _CHUNK_LINE.fullmatch(line)
    if match is None or len(line) > _CHUNK_LINE_LIMIT:
        raise MessageError("malformed chunk size")
    return int(match[1], 16)


def chunk(data: bytes) -> bytes:
    """Frame ``data`` as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def last_chunk(trailers: bytes) -> bytes:
    """Frame the end of a body; ``trailers`` are header lines, each led by CRLF."""
    return b"0" + trailers + b"\r\n\r\n" if trailers else LAST_CHUNK

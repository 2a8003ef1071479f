"""Chunked bodies: what is refused, what is read, and that splits and mutations change neither."""

from __future__ import annotations

import re
from itertools import pairwise

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.proxy.chunked import LAST_CHUNK, ChunkedDecoder, chunk, last_chunk
from gateway.proxy.http1 import MessageError


def decoded(*pieces: bytes) -> tuple[bytes, bytes | None]:
    """Payload of a chunked body fed in pieces, and what follows it; None if it has not ended."""
    decoder = ChunkedDecoder()
    payload = bytearray()
    for index, piece in enumerate(pieces):
        parts, beyond = decoder.feed(piece)
        payload += b"".join(parts)
        if decoder.finished:
            return bytes(payload), beyond + b"".join(pieces[index + 1 :])
        assert beyond == b""
    return bytes(payload), None


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"00a\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"3;a=b\r\nabc\r\n0;c\r\n\r\n", b"abc"),
        (b'3 ;a="\xe9;"\r\nabc\r\n0\r\n\r\n', b"abc"),
        (b"3\r\na\r\n\r\n0\r\n\r\n", b"a\r\n"),
        (b"0\r\nX-Trailer: 1\r\nEmpty:\r\n\r\n", b""),
    ],
)
def test_chunked_bodies_that_are_read(body: bytes, payload: bytes):
    assert decoded(body) == (payload, b"")
    assert decoded(body + b"GET /") == (payload, b"GET /")
    for end in range(1, len(body)):
        assert decoded(body[:end], body[end:]) == (payload, b"")
        assert decoded(body[:end])[1] is None
    assert decoded(*(body[i : i + 1] for i in range(len(body)))) == (payload, b"")


BAD_CHUNKS = {
    "no size": b"\r\nabc\r\n",
    "letter for size": b"g\r\n",
    "signed size": b"+3\r\nabc\r\n",
    "prefixed size": b"0x3\r\nabc\r\n",
    "underscored size": b"1_0\r\n",
    "space before size": b" 3\r\nabc\r\n",
    "huge size": b"1" + b"0" * 15 + b"\r\n",
    "bare LF after size": b"3\nabc\r\n0\r\n\r\n",
    "bare CR after size": b"3\rabc\r\n",
    "NUL in extension": b"3;a=\x00\r\nabc\r\n",
    "bare LF in extension": b"3;a\nb\r\nabc\r\n",
    "endless extension": b"3;" + b"a" * 300,
    "long extension": b"3;" + b"a" * 300 + b"\r\nabc\r\n0\r\n\r\n",
    "chunk longer than its size": b"3\r\nabcd\r\n",
    "chunk without CRLF": b"3\r\nabc0\r\n\r\n",
    "chunk with bare LF": b"3\r\nabc\n0\r\n\r\n",
    "chunk with bare CR": b"3\r\nabc\r0\r\n\r\n",
    "trailer without colon": b"0\r\nabc\r\n\r\n",
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "NUL in trailer": b"0\r\nA: \x00\r\n\r\n",
    "bare LF in trailer": b"0\r\nA: b\nC: d\r\n\r\n",
    "bare LF at the end": b"0\r\n\n",
    "request for trailer": b"0\r\nGET / HTTP/1.1\r\n\r\n",
    "endless trailer": b"0\r\nA: " + b"a" * 9000,
    "long trailers": b"0\r\n" + b"A: bbbbbbbb\r\n" * 1000 + b"\r\n",
}


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_chunked_bodies_that_are_refused(body: bytes):
    with pytest.raises(MessageError):
        decoded(body)
    with pytest.raises(MessageError):
        decoded(*(body[i : i + 1] for i in range(len(body))))


def test_trailers_are_kept():
    body = b"0\r\nX-Sum: 1\r\nempty:\r\nB:\ta \r\n\r\n"
    decoder = ChunkedDecoder()
    for byte in body:
        decoder.feed(bytes([byte]))
    assert decoder.trailers == b"\r\nX-Sum: 1\r\nempty:\r\nB:\ta "
    assert last_chunk(decoder.trailers) == body


@pytest.mark.parametrize(
    "name",
    [
        *("Content-Length", "transfer-encoding", "HOST", "Connection", "Trailer", "TE", "Upgrade"),
        *("Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "Expect", "If-Match"),
        *("Content-Type", "Cache-Control", "Location", "Via", "X-Forwarded-For", "X-Real-IP"),
        *("X-Gateway-Request-Id", "X-Kong-Proxy-Latency", "X-Accel-Redirect", "Keep-Alive"),
    ],
)
def test_what_must_not_come_late_is_no_trailer(name: str):
    decoder = ChunkedDecoder()
    decoder.feed(b"0\r\n" + name.encode() + b": 1\r\nX-Sum: 1\r\n\r\n")
    assert (decoder.finished, decoder.trailers) == (True, b"\r\nX-Sum: 1")


@pytest.mark.parametrize("extension", [b"", b";a"])
def test_very_many_chunks_are_not_taken_all_at_once(extension: bytes):
    """Neither with extensions of their own, which take longer; the last feed finds the end."""
    decoder = ChunkedDecoder()
    payload, rounds = b"", 0
    data = (b"1" + extension + b"\r\na\r\n") * 5000 + b"0\r\n\r\nbeyond"
    while not decoder.finished:
        pieces, beyond = decoder.feed(data)
        assert len(pieces) <= 1024
        assert decoder.pending is not decoder.finished
        payload, rounds, data = payload + b"".join(pieces), rounds + 1, b""
    assert (payload, beyond, rounds) == (b"a" * 5000, b"beyond", 5)


def test_chunk_writes_what_the_decoder_reads():
    assert decoded(chunk(b"abc") + chunk(b"x" * 300) + LAST_CHUNK) == (b"abc" + b"x" * 300, b"")


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A well-formed chunked body and its payload."""
    payloads = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    extension = st.sampled_from([b"", b";a", b';a="b c"', b" ;x=1"])
    size = st.sampled_from([b"%x", b"%X", b"0%x"])
    body = b"".join(
        draw(size) % len(payload) + draw(extension) + b"\r\n" + payload + b"\r\n"
        for payload in payloads
    )
    trailers = draw(st.lists(st.sampled_from([b"A: b\r\n", b"X-Long:\t1 \r\n"]), max_size=2))
    return body + b"0\r\n" + b"".join(trailers) + b"\r\n", b"".join(payloads)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """``data`` in pieces, cut at the given places."""
    places = sorted({min(place, len(data)) for place in at} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


places = st.lists(st.integers(0, 200), max_size=8)


@given(chunked_bodies(), st.binary(max_size=20), places)
def test_however_a_chunked_body_is_split_it_reads_the_same(
    body: tuple[bytes, bytes], beyond: bytes, at: list[int]
):
    framed, payload = body
    assert decoded(*cut(framed + beyond, at)) == (payload, beyond)


class H11Body:
    """What h11 makes of the body of a chunked request."""

    def __init__(self, framed: bytes) -> None:
        self.payload = b""
        self.beyond: bytes | None = None
        server = h11.Connection(h11.SERVER)
        server.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        server.next_event()
        server.receive_data(framed)
        event = server.next_event()
        while isinstance(event, h11.Data):
            self.payload += bytes(event.data)
            event = server.next_event()
        if isinstance(event, h11.EndOfMessage):
            self.beyond = server.trailing_data[0]


@given(chunked_bodies(), st.integers(0, 200), st.binary(max_size=3), st.integers(0, 2), places)
@example((b"3\r\nabc\r\n0\r\n\r\n", b"abc"), 7, b"\n", 2, [])
def test_broken_chunks_are_refused_or_wait_but_are_never_read_otherwise(
    body: tuple[bytes, bytes], where: int, forged: bytes, removed: int, at: list[int]
):
    """Whatever still decodes after a mutation, h11 decodes to the same.

    But for white space before an extension: RFC 9112 section 7.1.1 has it read, h11 refuses it.
    """
    framed, _ = body
    broken = framed[:where] + forged + framed[where + removed :]
    broken = re.sub(rb"[ \t]+;", b";", broken)
    try:
        payload, beyond = decoded(*cut(broken, at))
    except MessageError:
        return
    expected = H11Body(broken)
    assert (payload, beyond) == (expected.payload, expected.beyond)

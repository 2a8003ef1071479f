"""Bodies on the wire: framed anew on each side, streamed, held back, and never cut short unseen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import OK, Client, Pouring, Upstream, drink, eventually, unchanging

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_1_0 = b"GET / HTTP/1.0\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

MEGABYTE = 1 << 20
PIECE = bytes(1 << 16)


# -- requests


@pytest.mark.both_loops
async def test_a_chunked_request_stays_chunked(streaming: Gateway, upstream: Upstream):
    client = await streaming.connect()
    response = await client.ask(
        CHUNKED_POST + b"3;ext=1\r\nxyz\r\n4\r\nuvwg\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    assert response.status == 200
    (request,) = upstream.requests
    assert request.body == b"xyzuvwg"
    assert request["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in request
    assert (await client.ask(GET)).status == 200


async def test_a_request_body_is_passed_on_as_it_comes(streaming: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await streaming.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    client.send(b"xyz")
    assert await peer.until(b"xyz") == b"xyz"
    client.send(b"uvw")
    assert await peer.until(b"uvw") == b"uvw"
    peer.send(OK)
    assert (await client.response()).body == b"ok"


async def test_the_client_is_told_to_continue_by_the_proxy(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    peer = await upstream.accept()
    request = await peer.request()
    assert request.body == b"body"
    assert "Expect" not in request
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    response = await client.response()
    assert (response.status, response.interim) == (200, [])


async def test_a_client_that_did_not_wait_is_not_told_to_continue(gateway: Gateway):
    response = await gateway.ask(
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody"
    )
    assert (response.status, response.interim) == (200, [])


async def test_a_client_is_not_told_to_continue_what_goes_nowhere(start_gateway: StartGateway):
    gateway = await start_gateway({})
    client = await gateway.connect()
    response = await client.ask(
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (response.status, response.interim) == (404, [])
    assert response["Connection"] == "close"
    assert await client.closed()


BROKEN_BODIES = {
    "no size": b"x\r\nxyz\r\n0\r\n\r\n",
    "bare LF": b"3\nxyz\n0\n\n",
    "longer than said": b"3\r\nxyzd\r\n0\r\n\r\n",
    "second chunk": b"3\r\nxyz\r\n-1\r\n",
}


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
async def test_broken_chunks_end_the_connection_on_both_sides(
    streaming: Gateway, upstream: Upstream, body: bytes
):
    upstream.scripted = True
    client = await streaming.connect()
    client.send(CHUNKED_POST)
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    client.send(body + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    response = await client.response()
    assert (response.status, response["Connection"]) == (400, "close")
    assert await client.closed()
    assert b"0\r\n\r\n" not in await peer.rest()
    assert streaming.codes() == {("all", 400, False): 1}


def small_chunks(number: int) -> bytes:
    return b"".join(b"1\r\n%c\r\n" % (97 + at % 26) for at in range(number)) + b"0\r\n\r\n"


def letters(number: int) -> bytes:
    return bytes(97 + at % 26 for at in range(number))


@pytest.mark.both_loops
@pytest.mark.parametrize("kept", [True, False])
async def test_very_many_chunks_arrive_in_order(
    start_gateway: StartGateway, upstream: Upstream, kept: bool
):
    """They are taken a thousand at a time, so that nobody else has to wait; what follows, waits."""
    gateway = await start_gateway(one_route(upstream, request_buffering=kept))
    client = await gateway.connect()
    client.send((CHUNKED_POST + small_chunks(30_000)) * 2 + GET)
    for _ in range(3):
        assert (await client.response()).status == 200
    assert [request.body for request in upstream.requests] == [letters(30_000)] * 2 + [b""]


async def test_among_very_many_chunks_a_bad_one_is_found(streaming: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await streaming.connect()
    client.send(CHUNKED_POST + small_chunks(10_000)[:-5] + b"x\r\n" + GET)
    response = await client.response()
    assert (response.status, response["Connection"]) == (400, "close")
    assert await client.closed()
    assert b"0\r\n\r\n" not in await (await upstream.accept()).rest()


# -- responses


@pytest.mark.both_loops
async def test_very_many_chunks_of_a_response_arrive_in_order(gateway: Gateway, upstream: Upstream):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.answer = head + small_chunks(50_000)
    client = await gateway.connect(receive_buffer=4096)
    for _ in range(2):
        assert (await client.ask(GET)).body == letters(50_000)
    assert len(upstream.connections) == 1


@pytest.mark.both_loops
async def test_a_chunked_response_stays_chunked(gateway: Gateway, upstream: Upstream):
    upstream.answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
        b"3\r\nxyz\r\n2;x\r\nde\r\n0\r\nX: 1\r\n\r\n"
    )
    client = await gateway.connect()
    for _ in range(2):
        response = await client.ask(GET)
        assert response.body == b"xyzde"
        assert response["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in response
    assert len(upstream.connections) == 1


async def test_a_chunked_response_comes_in_pieces(gateway: Gateway, upstream: Upstream):
    """Each byte on its own, and each piece goes down before the next is sent."""
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n":
        peer.send(bytes([byte]))
        await peer.drained()
    await client.reader.readuntil(b"\r\n\r\n")
    for piece in (b"xyz", b"uvwg"):
        peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert piece in await client.reader.readuntil(piece + b"\r\n")
    peer.send(b"0\r\n\r\n")
    assert await client.reader.readexactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified"])
async def test_the_answer_to_head_tells_a_length_but_has_no_body(
    gateway: Gateway, upstream: Upstream, status: str
):
    upstream.answer = f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n".encode()
    client = await gateway.connect()
    for _ in range(2):
        response = await client.ask(HEAD, "HEAD")
        assert response["Content-Length"] == "5"
    upstream.answer = OK
    assert (await client.ask(GET)).body == b"ok"
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 7", b"X-None: 1"])
@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_some_responses_have_no_body_whatever_they_say(
    gateway: Gateway, upstream: Upstream, status: bytes, framing: bytes
):
    upstream.answer = b"HTTP/1.1 " + status + b"\r\n" + framing + b"\r\n\r\n"
    client = await gateway.connect()
    for _ in range(2):
        response = await client.ask(GET)
        assert response.status == int(status[:3])
        assert "Transfer-Encoding" not in response
    assert ("Content-Length" in response) is (status[:3] == b"304" and b"Length" in framing)


async def test_a_response_that_ends_by_closing_becomes_chunked(
    gateway: Gateway, upstream: Upstream
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
    peer.send(b"lo")
    await peer.close()
    response = await client.response()
    assert (response.body, response["Transfer-Encoding"]) == (b"hello", "chunked")
    upstream.scripted = False
    assert (await client.ask(GET)).body == b"ok"


async def test_http_1_0_gets_no_chunks(gateway: Gateway, upstream: Upstream):
    upstream.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"
    client = await gateway.connect()
    response = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert response.body == b"xyz"
    assert "Transfer-Encoding" not in response
    assert response["Connection"] == "close"
    assert await client.closed()


async def test_an_upstream_of_http_1_0_is_understood(gateway: Gateway, upstream: Upstream):
    upstream.answer = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
    client = await gateway.connect()
    for _ in range(2):
        response = await client.ask(GET)
        assert (response.body, response.version) == (b"ok", "1.1")
    assert len(upstream.connections) == 2


# -- a response that comes before the request has ended


async def test_a_response_may_come_before_the_request_has_ended(
    streaming: Gateway, upstream: Upstream
):
    upstream.scripted = True
    client = await streaming.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nxyz")
    peer = await upstream.accept()
    await peer.until(b"xyz")
    peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    response = await client.response()
    assert (response.status, response.body, response["Connection"]) == (403, b"no", "close")
    assert await client.closed()
    assert await peer.closed()


@pytest.mark.both_loops
async def test_after_an_early_response_a_short_rest_of_the_request_is_dropped(
    streaming: Gateway, upstream: Upstream
):
    """The client's connection goes on; the upstream's has half a request in it and does not."""
    upstream.scripted = True
    client = await streaming.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nxyz")
    peer = await upstream.accept()
    await peer.until(b"xyz")
    peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    response = await client.response()
    assert (response.status, response.body) == (403, b"no")
    assert "Connection" not in response
    assert await peer.closed()
    upstream.scripted = False
    client.send(bytes(997) + GET)
    assert (await client.response()).body == b"ok"
    assert len(upstream.requests) == 1


async def test_while_a_response_comes_the_request_goes_on(streaming: Gateway, upstream: Upstream):
    """As with echoing upstreams, which answer each piece before they get the next."""
    upstream.scripted = True
    client = await streaming.connect()
    client.send(CHUNKED_POST)
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.reader.readuntil(b"\r\n\r\n")
    for piece in (b"1\r\na\r\n", b"1\r\nb\r\n"):
        client.send(piece)
        await peer.until(piece)
        peer.send(piece)
        assert await client.reader.readexactly(len(piece)) == piece
    client.send(b"0\r\n\r\n")
    await peer.until(b"0\r\n\r\n")
    peer.send(b"0\r\n\r\n")
    assert await client.reader.readexactly(5) == b"0\r\n\r\n"


async def test_a_connection_said_to_close_closes_though_the_request_was_read_after_all(
    streaming: Gateway, upstream: Upstream
):
    upstream.scripted = True
    client = await streaming.connect()
    client.send(CHUNKED_POST + b"3\r\nxyz\r\n")
    peer = await upstream.accept()
    await peer.until(b"xyz")
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in head
    client.send(b"0\r\n\r\n")
    await peer.until(b"0\r\n\r\n")
    peer.send(b"done")
    assert await client.rest() == b"done"


# -- never a short body for a whole one


async def cut_short(
    gateway: Gateway, upstream: Upstream, begun: bytes, how: str, ask: bytes
) -> Client:
    """A client that has the beginning of a response which the upstream will never finish."""
    upstream.scripted = True
    client = await gateway.connect()
    client.send(ask)
    peer = await upstream.accept()
    await peer.request()
    peer.send(begun)
    await client.reader.readuntil(b"hel")
    await (peer.reset() if how == "reset" else peer.close())
    return client


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
WHOLE_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhel"


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("begun", "how"),
    [
        (LENGTH, "close"),
        (LENGTH, "reset"),
        (CHUNKS, "close"),
        (CHUNKS, "reset"),
        (WHOLE_CHUNKS, "close"),
        (TO_THE_END, "reset"),
    ],
)
async def test_an_upstream_gone_within_the_body_cuts_the_client(
    gateway: Gateway, upstream: Upstream, begun: bytes, how: str
):
    client = await cut_short(gateway, upstream, begun, how, GET)
    rest = await rest_or_reset(client)
    assert b"lo" not in rest
    assert b"0\r\n\r\n" not in rest
    assert gateway.codes() == {("all", 200, True): 1}


async def rest_or_reset(client: Client) -> bytes:
    try:
        return await client.rest()
    except ConnectionResetError:
        return b""


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("begun", "how"), [(CHUNKS, "close"), (CHUNKS, "reset"), (TO_THE_END, "reset")]
)
async def test_a_cut_body_cannot_be_taken_for_one_that_ends_by_closing(
    gateway: Gateway, upstream: Upstream, begun: bytes, how: str
):
    client = await cut_short(gateway, upstream, begun, how, GET_1_0)
    with pytest.raises(ConnectionResetError):
        await client.rest()


@pytest.mark.parametrize(
    "more", [b"2\r\nxx", b"\r\nz\r\n", b"\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]
)
async def test_a_response_that_breaks_its_framing_is_cut(
    gateway: Gateway, upstream: Upstream, more: bytes
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(WHOLE_CHUNKS[:-2])
    await client.reader.readuntil(b"hel")
    peer.send(more)
    assert b"0\r\n\r\n" not in await rest_or_reset(client)
    assert await peer.closed()


async def test_a_response_longer_than_it_said_reaches_nobody(gateway: Gateway, upstream: Upstream):
    upstream.answer = OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    client = await gateway.connect()
    assert (await client.ask(GET)).status == 502
    upstream.answer = OK
    assert (await client.ask(GET)).body == b"ok"


# -- back-pressure


@pytest.mark.both_loops
async def test_a_slow_client_holds_the_upstream_back(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(
        one_route(upstream, response_buffering=False), buffer_limit_bytes=65_536
    )
    size = 32 * MEGABYTE
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    pouring = Pouring(peer, PIECE, size // len(PIECE))
    await pouring.stalled()
    assert not pouring.done()  # the rest is held back, however large the kernel's buffers
    await client.reader.readuntil(b"\r\n\r\n")
    await drink(client, size)
    await pouring.end()
    assert (await ask_scripted(client, peer)).body == b"ok"


@pytest.fixture
async def narrow_upstream() -> AsyncIterator[Upstream]:
    """An upstream whose kernel takes next to nothing before it is read."""
    upstream = Upstream()
    upstream.scripted = True
    await upstream.start(receive_buffer=4096)
    yield upstream
    await upstream.stop()


@pytest.mark.both_loops
async def test_a_slow_upstream_holds_the_client_back(
    start_gateway: StartGateway, narrow_upstream: Upstream
):
    """Even when it was slow from the first piece, which was there before the connection."""
    upstream = narrow_upstream
    gateway = await start_gateway(
        one_route(upstream, request_buffering=False), buffer_limit_bytes=4096
    )
    size = 32 * MEGABYTE
    client = await gateway.connect()
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
    client.send(head + bytes(MEGABYTE))
    pouring = Pouring(client, PIECE, (size - MEGABYTE) // len(PIECE))
    peer = await upstream.accept()
    await pouring.stalled()
    assert not pouring.done()
    await peer.reader.readuntil(b"\r\n\r\n")
    await drink(peer, size)
    await pouring.end()
    peer.send(OK)
    assert (await client.response()).body == b"ok"


async def ask_scripted(client: Client, peer: Any) -> Any:
    """One more exchange over the same two connections."""
    client.send(GET)
    await peer.request()
    peer.send(OK)
    return await client.response()


@pytest.mark.parametrize(("size", "asked"), [(MEGABYTE, 60), (40_000, 1200)])
async def test_a_client_that_takes_no_answers_gets_no_more_of_them(
    start_gateway: StartGateway, upstream: Upstream, size: int, asked: int
):
    """Pipelining must not fill memory with the answers to a client that does not read.

    Neither with answers that come in pieces, nor with such that are complete at once.
    """
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=65_536)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    client = await gateway.connect(receive_buffer=4096)
    upstream.answer = whole
    client.send(GET * asked)
    await eventually(lambda: upstream.requests)
    await unchanging(lambda: len(upstream.requests))
    assert len(upstream.requests) < asked / 2  # the kernel takes some
    for _ in range(asked):
        await client.reader.readuntil(b"\r\n\r\n")
        await drink(client, size)
    assert len(upstream.requests) == asked


async def test_a_connection_goes_back_to_its_pool_able_to_read(
    start_gateway: StartGateway, upstream: Upstream
):
    """The last piece of a response may be the one that the client cannot take at once."""
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=4096)
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    size = 16 * MEGABYTE
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    pouring = Pouring(peer, PIECE, size // len(PIECE))
    await pouring.stalled()
    await client.reader.readuntil(b"\r\n\r\n")
    await drink(client, size - 1000)
    await pouring.end()
    other = await gateway.connect()
    assert (await ask_scripted(other, peer)).body == b"ok"


# -- someone gives up


@pytest.mark.both_loops
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_gone_while_waiting_releases_the_upstream(
    gateway: Gateway, upstream: Upstream, how: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.proxy.downstream._HALF_CLOSED_S", 0.01)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    await (client.reset() if how == "reset" else client.close())
    assert await peer.closed()
    await eventually(gateway.codes)
    assert gateway.codes() == {("all", 499, False): 1}


@pytest.mark.both_loops
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_gone_within_the_response_releases_the_upstream(
    gateway: Gateway, upstream: Upstream, how: str
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nxyz")
    await client.reader.readuntil(b"xyz")
    await (client.reset() if how == "reset" else client.close())
    with pytest.raises(ConnectionError):
        await Pouring(peer, PIECE, 10_000).end()
    await eventually(gateway.codes)
    assert gateway.codes() == {("all", 200, True): 1}


@pytest.mark.both_loops
async def test_a_client_gone_within_its_request_releases_the_upstream(
    streaming: Gateway, upstream: Upstream
):
    upstream.scripted = True
    client = await streaming.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nxyz")
    peer = await upstream.accept()
    await peer.until(b"xyz")
    await client.close()
    assert await peer.closed()


@pytest.mark.both_loops
async def test_a_client_may_half_close_once_it_has_asked(gateway: Gateway, upstream: Upstream):
    client = await gateway.connect()
    client.send(GET)
    client.half_close()
    response = await client.response()
    assert (response.status, response.body) == (200, b"ok")
    assert await client.closed()

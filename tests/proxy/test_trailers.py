"""Header lines behind chunked bodies: passed on where the next one can tell them from headers."""

from __future__ import annotations

import pytest

from .gateway import Gateway
from .peers import Response, Upstream

CHUNKED_POST = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%b\r\n3\r\nabc\r\n0\r\n%b\r\n"
)
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n3\r\nabc\r\n0\r\n%b\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"
TRAILERS = (
    b"X-Sum: 1\r\nHost: evil\r\nContent-Length: 5\r\nX-Forwarded-For: 1.1.1.1\r\nX-Odd: \xe9\r\n"
)
PASSED = [("X-Sum", "1"), ("X-Odd", "\xe9")]


# -- of requests


async def test_trailers_of_a_streamed_request_travel_on(streaming: Gateway, upstream: Upstream):
    message = CHUNKED_POST % (b"Trailer: X-Sum\r\n", TRAILERS)
    client = await streaming.connect()
    for _ in range(2):
        assert (await client.ask(message)).status == 200
    for request in upstream.requests:
        assert (request.body, request.trailers) == (b"abc", PASSED)
        assert request["Trailer"] == "X-Sum"


async def test_trailers_are_passed_on_however_they_are_cut(streaming: Gateway, upstream: Upstream):
    client = await streaming.connect()
    for byte in CHUNKED_POST % (b"", TRAILERS):
        client.strike(bytes([byte]))
    assert (await client.response()).status == 200
    assert upstream.requests[0].trailers == PASSED


@pytest.mark.parametrize(
    "trailers", [b"no colon\r\n", b"A: b\r\n c\r\n", b"A: \x00\r\n", b"A: b\nC: d\r\n"]
)
async def test_a_request_with_broken_trailers_is_refused(
    gateway: Gateway, upstream: Upstream, trailers: bytes
):
    client = await gateway.connect()
    response = await client.ask(CHUNKED_POST % (b"", trailers) + GET % b"")
    assert (response.status, response["Connection"]) == (400, "close")
    assert await client.closed()
    assert upstream.connections == []


# -- of responses


async def with_trailers(
    gateway: Gateway, upstream: Upstream, request: bytes, trailers: bytes = TRAILERS
) -> Response:
    upstream.answer = CHUNKED_OK % (b"Trailer: X-Sum\r\n", trailers)
    client = await gateway.connect()
    return await client.ask(request)


async def test_trailers_of_a_response_reach_a_client_that_takes_them(
    gateway: Gateway, upstream: Upstream
):
    for _ in range(2):
        response = await with_trailers(gateway, upstream, GET % b"TE: trailers\r\n")
        assert (response.body, response.trailers) == (b"abc", PASSED)
        assert response["Trailer"] == "X-Sum"


@pytest.mark.parametrize(
    "request_", [GET % b"", GET % b"TE: gzip\r\n", b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n"]
)
async def test_others_do_not_get_them(gateway: Gateway, upstream: Upstream, request_: bytes):
    response = await with_trailers(gateway, upstream, request_)
    assert (response.body, response.trailers) == (b"abc", [])
    assert "Trailer" not in response


async def test_trailers_that_come_late_are_the_last_of_the_response(
    gateway: Gateway, upstream: Upstream
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET % b"TE: trailers\r\n")
    peer = await upstream.accept()
    await peer.request()
    for byte in CHUNKED_OK % (b"", TRAILERS):
        peer.strike(bytes([byte]))
    assert (await client.response()).trailers == PASSED
    client.send(GET % b"TE: trailers\r\n")
    await peer.request()
    peer.send(CHUNKED_OK % (b"", b""))
    assert (await client.response()).trailers == []


async def test_broken_trailers_cut_the_response(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET % b"TE: trailers\r\n")
    peer = await upstream.accept()
    await peer.request()
    whole = CHUNKED_OK % (b"", b"A: b\r\n c\r\n")
    head, body = whole[:-20], whole[-20:]
    peer.send(head)
    await client.reader.readuntil(b"\r\n\r\n")
    peer.send(body)
    assert b"0\r\n" not in await client.rest()
    assert await peer.closed()

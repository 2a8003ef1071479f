"""Responses before the response (1xx): whom they reach, and how many."""

from __future__ import annotations

import pytest

from .gateway import Gateway
from .peers import OK, Client, Upstream, UpstreamPeer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: 1\r\n\r\n"


async def asked(
    gateway: Gateway, upstream: Upstream, message: bytes = GET
) -> tuple[Client, UpstreamPeer]:
    upstream.scripted = True
    client = await gateway.connect()
    client.send(message)
    peer = await upstream.accept()
    await peer.request()
    return client, peer


@pytest.mark.both_loops
async def test_they_are_sent_on_at_once(gateway: Gateway, upstream: Upstream):
    client, peer = await asked(gateway, upstream)
    peer.send(HINTS)
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    peer.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Odd\r\n\r\nHTTP")
    peer.send(OK[4:])
    response = await client.response()
    assert (response.status, response.interim, response.body) == (200, [102, 199], b"ok")
    client.send(GET)
    await peer.request()
    peer.send(OK)
    assert (await client.response()).interim == []


async def test_continue_goes_no_further(gateway: Gateway, upstream: Upstream):
    """Nobody has asked the upstream for it: we answer `Expect` ourselves."""
    client, peer = await asked(gateway, upstream)
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + OK)
    assert (await client.response()).interim == [103]


async def test_http_1_0_gets_none(gateway: Gateway, upstream: Upstream):
    client, peer = await asked(gateway, upstream, b"GET / HTTP/1.0\r\n\r\n")
    peer.send(HINTS + OK)
    assert (await client.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("number", "status"), [(64, 200), (65, 502)])
async def test_there_may_be_so_many(gateway: Gateway, upstream: Upstream, number: int, status: int):
    client, peer = await asked(gateway, upstream)
    for _ in range(2):
        peer.send(HINTS * (number // 2))
    peer.send(HINTS * (number % 2) + OK)
    response = await client.response()
    assert (response.status, len(response.interim)) == (status, 64)


async def test_each_request_may_have_as_many(gateway: Gateway, upstream: Upstream):
    client, peer = await asked(gateway, upstream)
    peer.send(HINTS * 40 + OK)
    assert (await client.response()).status == 200
    client.send(GET)
    await peer.request()
    peer.send(HINTS * 40 + OK)
    assert (await client.response()).status == 200


@pytest.mark.parametrize(
    "interim",
    [b"HTTP/1.1 103 Early Hints\nLink: a\n\n", b"HTTP/1.1 103 Hints\r\nA: " + b"a" * 40_000],
    ids=["malformed", "large"],
)
async def test_they_are_read_as_strictly_as_responses(
    gateway: Gateway, upstream: Upstream, interim: bytes
):
    client, peer = await asked(gateway, upstream)
    peer.send(interim)
    assert (await client.response()).status == 502
    assert await peer.closed()


async def test_each_begins_the_read_timeout_anew(gateway: Gateway, upstream: Upstream):
    client, peer = await asked(gateway, upstream)
    (connection,) = gateway.proxy.pools._open_connections
    due, connection.deadline = connection.deadline, connection.deadline - 1
    peer.send(HINTS)
    await client.reader.readuntil(b"\r\n\r\n")
    assert connection.deadline >= due


async def test_a_request_may_be_tried_again_after_one(gateway: Gateway, upstream: Upstream):
    client, peer = await asked(gateway, upstream)
    peer.send(HINTS)
    await client.reader.readuntil(b"\r\n\r\n")
    await peer.close()
    again = await upstream.accept()
    await again.request()
    again.send(OK)
    assert (await client.response()).status == 200

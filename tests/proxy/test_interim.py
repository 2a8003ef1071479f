"""Responses before the response (1xx): whom they reach, and how many."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import OK, Client, Pouring, Upstream, UpstreamPeer, drink

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: 1\r\n\r\n"


async def asked(
    gateway: Gateway,
    upstream: Upstream,
    message: bytes = GET,
    *,
    receive_buffer: int | None = None,
) -> tuple[Client, UpstreamPeer]:
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=receive_buffer)
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


@pytest.mark.parametrize("buffering", [False, True])
async def test_a_client_that_takes_none_of_them_holds_the_response_back(
    start_gateway: StartGateway, upstream: Upstream, buffering: bool
):
    """They are few enough to wait in memory; what comes after them is not."""
    gateway = await start_gateway(
        one_route(upstream, response_buffering=buffering), response_spool_limit_bytes=0
    )
    client, peer = await asked(gateway, upstream, receive_buffer=4096)
    (connection,) = gateway.connections
    shrink_send_buffer(connection._transport)
    hints = (b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 32_000 + b"\r\n\r\n") * 60
    peer.send(hints)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 32000000\r\n\r\n")
    pouring = Pouring(peer, bytes(64_000), 500)
    await pouring.stalled()
    assert not pouring.done()
    await drink(client, len(hints))
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
    await drink(client, 32_000_000)
    await pouring.end()


def shrink_send_buffer(transport: asyncio.Transport) -> None:
    """The kernel would take them all."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


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

"""Messages that come bit by bit: each bit travels on at once, and an end is an end on both sides.

Server-sent events and long polls live from that.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.proxy import downstream

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import DEADLINE_S, OK, Client, Upstream, UpstreamPeer, eventually

GET = b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
EVENT = b"data: something happened\n\n"
SOON_MS = 20

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = HEAD + b"Connection: close\r\n\r\n"
SIZED = HEAD + b"Content-Length: %d\r\n\r\n" % (3 * len(EVENT))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def asked(
    gateway: Gateway, upstream: Upstream, request: bytes = GET
) -> tuple[Client, UpstreamPeer]:
    """Both sides of an exchange of which the upstream has the request."""
    upstream.scripted = True
    client = await gateway.connect()
    client.send(request)
    peer = await upstream.accept()
    await peer.request()
    return client, peer


async def streaming(
    gateway: Gateway, upstream: Upstream, head: bytes = CHUNKED
) -> tuple[Client, UpstreamPeer]:
    """Both sides of a stream that has begun."""
    client, peer = await asked(gateway, upstream)
    peer.send(head)
    await comes(client, b"\r\n\r\n")
    return client, peer


async def comes(client: Client, end: bytes) -> bytes:
    """What the client has got once it has got ``end``."""
    async with asyncio.timeout(DEADLINE_S):
        return await client.reader.readuntil(end)


# -- from the upstream


@pytest.mark.both_loops
@pytest.mark.parametrize("buffering", [True, False])
@pytest.mark.parametrize("head", [CHUNKED, UNTIL_CLOSE, SIZED], ids=["chunked", "close", "sized"])
async def test_an_event_arrives_before_the_next_is_sent(
    start_gateway: StartGateway, upstream: Upstream, head: bytes, buffering: bool
):
    gateway = await start_gateway(one_route(upstream, response_buffering=buffering))
    client, peer = await asked(gateway, upstream)
    peer.send(head)
    came = await comes(client, b"\r\n\r\n")
    assert b"Content-Type: text/event-stream" in came
    for _ in range(3):
        peer.send(chunk(EVENT) if head is CHUNKED else EVENT)
        await comes(client, EVENT)
    if head is CHUNKED:
        peer.send(b"0\r\n\r\n")
        await comes(client, b"\r\n0\r\n\r\n")
    elif head is UNTIL_CLOSE:
        await peer.close()
        await comes(client, b"\r\n0\r\n\r\n")
    await eventually(lambda: gateway.codes() == {("all", 200, True): 1})


async def test_an_event_arrives_in_http_1_0_too(gateway: Gateway, upstream: Upstream):
    client, peer = await asked(gateway, upstream, b"GET / HTTP/1.0\r\n\r\n")
    peer.send(CHUNKED)
    assert b"Transfer-Encoding" not in await comes(client, b"\r\n\r\n")
    for _ in range(3):
        peer.send(chunk(EVENT))
        await comes(client, EVENT)
    peer.send(b"0\r\n\r\n")
    assert await client.closed()


async def test_half_a_chunk_arrives_before_its_other_half_is_sent(
    gateway: Gateway, upstream: Upstream
):
    client, peer = await streaming(gateway, upstream)
    whole = chunk(EVENT)
    peer.send(whole[:12])
    await comes(client, EVENT[:8])
    peer.send(whole[12:])
    await comes(client, EVENT[8:])


async def test_the_answer_to_a_long_poll_may_come_late(gateway: Gateway, upstream: Upstream):
    """Others are served meanwhile."""
    client, peer = await asked(gateway, upstream)
    upstream.scripted = False
    for _ in range(10):
        assert (await gateway.ask(GET)).status == 200
    peer.send(OK)
    assert (await client.response()).body == b"ok"


async def test_many_streams_do_not_mix(gateway: Gateway, upstream: Upstream):
    streams = [await streaming(gateway, upstream) for _ in range(20)]
    for _ in range(3):
        for number, (_, peer) in enumerate(streams):
            peer.send(chunk(b"data: %d\n\n" % number))
        for number, (client, _) in enumerate(streams):
            assert (await comes(client, b"\n\n")).endswith(b"\r\ndata: %d\n\n" % number)


# -- to the upstream


@pytest.mark.both_loops
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "sized"])
async def test_a_piece_of_a_request_arrives_before_the_next_is_sent(
    start_gateway: StartGateway, upstream: Upstream, chunked: bool
):
    gateway = await start_gateway(one_route(upstream, request_buffering=False))
    upstream.scripted = True
    client = await gateway.connect()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 15"
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    for number in range(3):
        piece = b"piece%d" % number if chunked else b"part%d" % number
        client.send(chunk(piece) if chunked else piece)
        await peer.until(piece)
    client.send(b"0\r\n\r\n" if chunked else b"")
    peer.send(OK)
    assert (await client.response()).status == 200


async def test_both_sides_may_stream_at_once(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream, request_buffering=False))
    upstream.scripted = True
    client = await gateway.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    peer.send(CHUNKED)
    await comes(client, b"\r\n\r\n")
    for number in range(3):
        client.send(chunk(b"question %d" % number))
        await peer.until(b"question %d" % number)
        peer.send(chunk(b"answer %d" % number))
        await comes(client, b"answer %d" % number)


async def test_a_request_that_is_kept_whole_arrives_whole(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        client.send(chunk(b"piece"))
        await client.drained()
    assert upstream.connections == []
    client.send(b"0\r\n\r\n")
    request = await (await upstream.accept()).request()
    assert (request["Content-Length"], request.body) == ("15", b"piecepiecepiece")


# -- how it ends


@pytest.mark.both_loops
@pytest.mark.parametrize("head", [CHUNKED, UNTIL_CLOSE, SIZED], ids=["chunked", "close", "sized"])
async def test_a_stream_without_events_is_cut_after_the_read_timeout(
    start_gateway: StartGateway, upstream: Upstream, head: bytes
):
    gateway = await start_gateway(one_route(upstream, to={"read_timeout": SOON_MS}))
    client, peer = await streaming(gateway, upstream, head)
    assert b"0\r\n\r\n" not in await client.rest()
    assert await peer.closed()
    assert gateway.codes() == {("all", 200, True): 1}


async def test_an_event_puts_the_read_timeout_off(start_gateway: StartGateway, upstream: Upstream):
    """Another stream, one without events, serves as the clock."""
    gateway = await start_gateway(one_route(upstream, to={"read_timeout": 100}))
    client, peer = await streaming(gateway, upstream)
    silent, _ = await streaming(gateway, upstream)
    clock = asyncio.create_task(silent.rest())
    while not clock.done():
        peer.send(chunk(EVENT))
        await comes(client, EVENT)
    peer.send(chunk(EVENT))
    await comes(client, EVENT)


@pytest.mark.both_loops
async def test_a_client_that_is_gone_releases_the_upstream(gateway: Gateway, upstream: Upstream):
    client, peer = await streaming(gateway, upstream)
    peer.send(chunk(EVENT))
    await comes(client, EVENT)
    await client.reset()
    assert await peer.closed()
    await eventually(lambda: gateway.codes() == {("all", 200, True): 1})


@pytest.mark.both_loops
async def test_a_client_that_says_no_more_releases_the_upstream_in_a_moment(
    gateway: Gateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    """It may only have half-closed, to say that there is no other request."""
    monkeypatch.setattr(downstream, "_HALF_CLOSED_S", SOON_MS / 1000)
    client, peer = await streaming(gateway, upstream)
    client.half_close()
    assert await peer.closed()
    await eventually(lambda: gateway.codes() == {("all", 200, True): 1})


async def test_a_client_that_is_gone_is_missed_with_the_next_event(
    gateway: Gateway, upstream: Upstream
):
    client, peer = await streaming(gateway, upstream)
    await client.close()

    async def tell() -> None:
        while True:
            peer.send(chunk(EVENT))
            await peer.writer.drain()
            await asyncio.sleep(0)

    telling = asyncio.create_task(tell())
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(telling, DEADLINE_S)
    await eventually(lambda: not gateway.connections)


@pytest.mark.parametrize("leaves", ["half_close", "reset"])
async def test_a_client_that_does_not_wait_for_a_long_poll_releases_the_upstream(
    gateway: Gateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, leaves: str
):
    monkeypatch.setattr(downstream, "_HALF_CLOSED_S", SOON_MS / 1000)
    client, peer = await asked(gateway, upstream)
    if leaves == "reset":
        await client.reset()
    else:
        client.half_close()
    assert await peer.closed()
    await eventually(lambda: gateway.codes() == {("all", 499, False): 1})

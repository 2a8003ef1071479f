"""Responses that their clients take slowly: kept, so that the upstream need not wait, or not."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import (
    DEADLINE_S,
    OK,
    Client,
    Pouring,
    Upstream,
    UpstreamPeer,
    drink,
    eventually,
    unchanging,
)
from .slow_disk import SlowDisk
from .test_request_buffering import numbered

MEGABYTE = 1 << 20
SIZE = 32 * MEGABYTE  # more than the kernel takes, whatever its buffers
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n"


async def slow_client(
    gateway: Gateway, upstream: Upstream, lines: bytes = b"", announced: int = SIZE
) -> tuple[Client, UpstreamPeer, Pouring]:
    """A client that reads nothing yet, and its upstream, which has begun to send a large body."""
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(HEAD % (announced, lines))
    return client, peer, Pouring(peer, bytes(1 << 16), SIZE >> 16)


@pytest.mark.both_loops
async def test_an_upstream_is_released_by_a_client_that_reads_nothing(
    gateway: Gateway, upstream: Upstream
):
    client, peer, pouring = await slow_client(gateway, upstream)
    await pouring.end()
    await eventually(gateway.idle_upstream_connections)
    other = await gateway.connect()
    other.send(GET)
    await peer.request()  # on the same connection
    peer.send(OK)
    assert (await other.response()).body == b"ok"
    assert gateway.proxy.spool_room.used_bytes > SIZE // 2
    await client.reader.readuntil(b"\r\n\r\n")
    await drink(client, SIZE)
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)
    client.send(GET)
    await peer.request()
    peer.send(OK)
    assert (await client.response()).body == b"ok"
    assert gateway.codes() == {("all", 200, True): 3}


@pytest.mark.both_loops
@pytest.mark.parametrize("chunked", [False, True])
async def test_nothing_is_lost_or_moved_on_the_way_through_the_file(
    gateway: Gateway, upstream: Upstream, chunked: bool
):
    """The client stops and goes on, so pieces take every way there is."""
    body = numbered(16 * MEGABYTE)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer.send(head + framed if chunked else HEAD % (len(body), b"") + body)
    client.reader._limit = 1 << 16  # type: ignore[attr-defined]
    received = bytearray()
    async with asyncio.timeout(DEADLINE_S):
        await client.reader.readuntil(b"\r\n\r\n")
        while len(received) < len(body):
            if chunked:
                size = int(await client.reader.readline(), 16)
                received += await client.reader.readexactly(size)
                await client.reader.readexactly(2)
            else:
                received += await client.reader.read(1 << 18)
            if len(received) < 4 * MEGABYTE:
                await asyncio.sleep(0)
    assert received == body


async def test_beyond_the_limit_of_one_response_the_upstream_has_to_wait(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(
        one_route(upstream), buffer_limit_bytes=65_536, response_spool_limit_bytes=MEGABYTE
    )
    client, _, pouring = await slow_client(gateway, upstream)
    await pouring.stalled()
    assert not pouring.done()
    assert MEGABYTE // 2 < gateway.proxy.spool_room.used_bytes <= MEGABYTE
    await client.reader.readuntil(b"\r\n\r\n")
    await drink(client, SIZE)
    await pouring.end()
    assert gateway.proxy.spool_room.used_bytes <= MEGABYTE
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)


@pytest.mark.parametrize(
    "limits",
    [{"response_spool_limit_bytes": 0}, {"body_spool_limit_bytes": MEGABYTE}],
    ids=["none of its own", "none left"],
)
async def test_without_room_on_disk_the_upstream_has_to_wait(
    start_gateway: StartGateway, upstream: Upstream, limits: dict[str, int]
):
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=65_536, **limits)
    client, _, pouring = await slow_client(gateway, upstream)
    await pouring.stalled()
    assert not pouring.done()
    await client.reader.readuntil(b"\r\n\r\n")
    await drink(client, SIZE)
    await pouring.end()
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)


async def test_while_the_file_is_being_read_the_upstream_waits_too(
    gateway: Gateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    """A client that has taken some again, and a disk that is slow to give the rest."""
    disk = SlowDisk(monkeypatch, "pread")
    client, peer, pouring = await slow_client(gateway, upstream, announced=2 * SIZE)
    await pouring.end()
    await unchanging(lambda: gateway.proxy.spool_room.used_bytes)
    drinking = asyncio.create_task(drink_all(client))
    await eventually(disk.asked.is_set)
    more = Pouring(peer, bytes(1 << 16), SIZE >> 16)
    await more.stalled()
    assert not more.done()
    disk.go_on()
    await more.end()
    await drinking


async def drink_all(client: Client) -> None:
    await client.reader.readuntil(b"\r\n\r\n")
    await drink(client, 2 * SIZE)


async def test_a_disk_that_cannot_be_written_makes_the_upstream_wait(
    gateway: Gateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    """What was to be written is still sent."""

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.pwrite", fail)
    client, _, pouring = await slow_client(gateway, upstream)
    await pouring.stalled()
    assert not pouring.done()
    await client.reader.readuntil(b"\r\n\r\n")
    await drink(client, SIZE)
    await pouring.end()
    await eventually(gateway.codes)


async def test_a_file_that_cannot_be_read_cuts_the_response(
    gateway: Gateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.pread", fail)
    client, _, pouring = await slow_client(gateway, upstream)
    await pouring.end()
    await client.reader.readuntil(b"\r\n\r\n")
    with pytest.raises((AssertionError, ConnectionError)):
        await drink(client, SIZE)
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)


@pytest.mark.parametrize(
    ("of_route", "lines"),
    [({"response_buffering": False}, b""), ({}, b"X-Accel-Buffering: no\r\n")],
    ids=["by the route", "by the upstream"],
)
async def test_a_response_may_be_kept_from_being_kept(
    start_gateway: StartGateway, upstream: Upstream, of_route: dict[str, bool], lines: bytes
):
    gateway = await start_gateway(one_route(upstream, **of_route))
    client, _, pouring = await slow_client(gateway, upstream, lines)
    await pouring.stalled()
    assert not pouring.done()
    assert gateway.proxy.spool_room.used_bytes == 0
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"X-Accel" not in head
    await drink(client, SIZE)
    await pouring.end()


@pytest.mark.both_loops
async def test_a_client_that_leaves_frees_what_was_kept(gateway: Gateway, upstream: Upstream):
    client, _, pouring = await slow_client(gateway, upstream)
    await pouring.end()
    await eventually(lambda: gateway.proxy.spool_room.used_bytes)
    await client.reset()
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)
    assert gateway.codes() == {("all", 200, True): 1}


async def test_a_client_that_takes_nothing_is_given_up_though_all_is_kept(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), body_timeout_s=0.1)
    _, _, pouring = await slow_client(gateway, upstream)
    await pouring.end()
    await eventually(lambda: not gateway.connections)
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_upstream_gone_within_a_kept_response_cuts_the_client(
    gateway: Gateway, upstream: Upstream, how: str
):
    client, peer, pouring = await slow_client(gateway, upstream, announced=SIZE + 1)
    await pouring.end()
    await eventually(lambda: gateway.proxy.spool_room.used_bytes)
    await (peer.reset() if how == "reset" else peer.close())
    await eventually(gateway.codes)
    with pytest.raises((AssertionError, ConnectionError)):
        await drink(client, SIZE)
    await eventually(lambda: not gateway.proxy.spool_room.used_bytes)


@pytest.mark.both_loops
@pytest.mark.parametrize("buffering", [True, False])
async def test_events_are_sent_on_at_once(
    start_gateway: StartGateway, upstream: Upstream, buffering: bool
):
    """Each waits for the one before to have reached the client."""
    gateway = await start_gateway(one_route(upstream, response_buffering=buffering))
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    await client.reader.readuntil(b"\r\n\r\n")
    for number in range(20):
        event = b"data: %d\n\n" % number
        peer.send(event)
        async with asyncio.timeout(DEADLINE_S):
            assert await client.reader.readuntil(event + b"\r\n")

"""Tunnels: how they come about after a 101, what they carry, and how they end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import h11
import pytest

from gateway.proxy.deadlines import DeadlineWheel
from gateway.proxy.key_pairs import load_pair
from gateway.proxy.tunnel import Tunnel, TunnelEnd

from .certificates import Authority
from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import (
    DEADLINE_S,
    OK,
    Client,
    ClientTls,
    Peer,
    Pouring,
    Upstream,
    UpstreamPeer,
    drink,
    eventually,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SOON_MS = 20


async def switched(client: Client) -> list[tuple[str, str]]:
    """Read the 101, and nothing behind it; return its headers."""
    async with asyncio.timeout(DEADLINE_S):
        message = await client.reader.readuntil(b"\r\n\r\n")
    connection = h11.Connection(h11.CLIENT)
    asked = [("Host", "a"), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
    connection.send(h11.Request(method="GET", target="/", headers=asked))
    connection.send(h11.EndOfMessage())
    connection.receive_data(message)
    event = connection.next_event()
    assert isinstance(event, h11.InformationalResponse)
    assert event.status_code == 101
    assert connection.next_event() is h11.PAUSED
    return [(name.decode().lower(), value.decode()) for name, value in event.headers]


async def tunnel(gateway: Gateway, upstream: Upstream) -> tuple[Client, UpstreamPeer]:
    """Both ends of a new tunnel."""
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING)
    await switched(client)
    return client, peer


async def takes(peer: Peer, words: bytes) -> None:
    """Check that these words come next."""
    async with asyncio.timeout(DEADLINE_S):
        assert await peer.reader.readexactly(len(words)) == words


async def carries_on(client: Client, peer: UpstreamPeer) -> None:
    """Check that a tunnel carries both ways."""
    for speaker, listener in ((client, peer), (peer, client)):
        speaker.send(b"\x00\xff\r\n\r\nGET / HTTP/1.1")
        await takes(listener, b"\x00\xff\r\n\r\nGET / HTTP/1.1")


# -- how it begins


async def test_the_upstream_is_asked_for_the_upgrade(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE)
    request = await (await upstream.accept()).request()
    assert request["Connection"] == "keep-alive, Upgrade"
    assert request["Upgrade"] == "websocket"
    assert request["Sec-WebSocket-Key"] == "dGhlIHNhbXBsZSBub25jZQ=="
    assert request["Sec-WebSocket-Version"] == "13"
    assert request["Sec-WebSocket-Protocol"] == "chat"
    assert request["Sec-WebSocket-Extensions"] == "permessage-deflate"
    assert request["X-Forwarded-Path"] == "/chat"


@pytest.mark.both_loops
async def test_a_101_opens_a_tunnel(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    about = b"Sec-WebSocket-Accept: s3pPLMBi\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n"
    peer.send(SWITCHING[:-2] + about + b"\r\n")
    headers = dict(await switched(client))
    assert (headers["connection"], headers["upgrade"]) == ("Upgrade", "websocket")
    assert headers["sec-websocket-accept"] == "s3pPLMBi"
    assert {
        "date",
        "server",
        "via",
        "x-gateway-request-id",
        "x-gateway-proxy-latency",
    } < headers.keys()
    assert headers.keys().isdisjoint({"keep-alive", "content-length", "transfer-encoding"})
    await carries_on(client, peer)
    await carries_on(client, peer)


async def test_the_101_may_come_in_pieces_and_after_other_interim_responses(
    gateway: Gateway, upstream: Upstream
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    for byte in b"HTTP/1.1 102 Processing\r\n\r\n" + SWITCHING:
        peer.strike(bytes([byte]))
        await asyncio.sleep(0)
    await eventually(lambda: b"101 Switching" in client.reader._buffer)  # type: ignore[attr-defined]
    async with asyncio.timeout(DEADLINE_S):
        await client.reader.readuntil(b"Upgrade: websocket\r\n\r\n")
    await carries_on(client, peer)


@pytest.mark.both_loops
async def test_what_comes_with_the_101_is_carried_too(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING + b"welcome")
    await switched(client)
    await takes(client, b"welcome")
    await carries_on(client, peer)


@pytest.mark.both_loops
@pytest.mark.parametrize("size", [5, 1_000_000])
async def test_what_the_client_sends_early_waits_for_the_101(
    start_gateway: StartGateway, upstream: Upstream, size: int
):
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=4096)
    upstream.scripted = True
    early = bytes(size)
    client = await gateway.connect()
    client.send(UPGRADE + early)
    peer = await upstream.accept()
    await peer.request()
    assert peer.unread == b""
    peer.send(SWITCHING)
    await switched(client)
    await takes(peer, early)
    await carries_on(client, peer)


@pytest.mark.both_loops
async def test_a_client_may_have_said_all_before_the_101(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE + b"all I have")
    client.half_close()
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING + b"so you ")
    assert await peer.rest() == b"all I have"
    peer.send(b"say")
    await peer.close()
    await switched(client)
    assert await client.rest() == b"so you say"


async def test_an_upgrade_may_be_pipelined(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET + UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    peer.send(OK)
    assert (await client.response()).body == b"ok"
    await peer.request()
    peer.send(SWITCHING)
    await switched(client)
    await carries_on(client, peer)


@pytest.mark.parametrize(
    "framed",
    [b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"],
)
async def test_an_upgrade_may_have_a_body(gateway: Gateway, upstream: Upstream, framed: bytes):
    """Docker's `exec` does that, with a protocol called tcp."""
    upstream.scripted = True
    client = await gateway.connect()
    client.send(
        b"POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        + framed
        + b"early"
    )
    peer = await upstream.accept()
    request = await peer.request()
    assert (request["Upgrade"], request.body, peer.unread) == ("tcp", b"body", b"")
    peer.send(SWITCHING.replace(b"websocket", b"tcp"))
    async with asyncio.timeout(DEADLINE_S):
        await client.reader.readuntil(b"\r\nUpgrade: tcp\r\n\r\n")
    await takes(peer, b"early")
    await carries_on(client, peer)


async def test_a_tunnel_keeps_no_body_on_disk(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=4096)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE[:-2] + b"Content-Length: 100000\r\n\r\n" + bytes(100_000))
    peer = await upstream.accept()
    assert (await peer.request()).body == bytes(100_000)
    assert gateway.proxy.spool_room.used_bytes > 0
    peer.send(SWITCHING)
    await switched(client)
    assert gateway.proxy.spool_room.used_bytes == 0
    await carries_on(client, peer)


async def test_an_upgrade_is_tried_again_like_any_other_get(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE)
    first = await upstream.accept()
    await first.request()
    await first.close()
    second = await upstream.accept()
    assert (await second.request())["Upgrade"] == "websocket"
    second.send(SWITCHING)
    await switched(client)
    await carries_on(client, second)


# -- where none begins


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABk\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n",
    ],
)
async def test_other_upgrades_are_not_asked_for(gateway: Gateway, upstream: Upstream, head: bytes):
    assert (await gateway.ask(head)).status == 200
    (request,) = upstream.requests
    assert request["Connection"] == "keep-alive"
    assert "Upgrade" not in request
    assert "HTTP2-Settings" not in request


async def test_a_client_that_would_speak_http_2_is_served_in_http_1(gateway: Gateway):
    """Some clients offer h2c with each request, so the connection has to stay open."""
    client = await gateway.connect()
    for _ in range(2):
        response = await client.ask(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        )
        assert (response.status, "Connection" in response) == (200, False)


async def test_any_other_answer_is_relayed_and_the_last(gateway: Gateway, upstream: Upstream):
    """What follows an upgrade that was refused may have been meant for the other protocol."""
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE + GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    response = await client.response()
    assert (response.status, response.body, response["Connection"]) == (403, b"no", "close")
    assert await client.closed()
    assert gateway.proxy.counts.total_requests == 1
    assert gateway.idle_upstream_connections() == 1


async def test_a_client_that_asked_for_it_hears_which_upgrade_would_do(
    gateway: Gateway, upstream: Upstream
):
    upstream.answer = (
        b"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
    )
    response = await gateway.ask(UPGRADE)
    assert (response.status, response["Upgrade"]) == (426, "websocket")
    assert response.all("Connection") == ["Upgrade", "close"]
    response = await gateway.ask(GET)
    assert (response.status, "Upgrade" in response, "Connection" in response) == (426, False, False)


@pytest.mark.parametrize(
    ("request_head", "answer"),
    [
        (GET, SWITCHING),
        (UPGRADE, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (UPGRADE, SWITCHING.replace(b"websocket", b"other")),
        (UPGRADE, SWITCHING.replace(b"websocket", b"h2c")),
        (UPGRADE, SWITCHING.replace(b"Connection: Upgrade\r\n", b"")),
        (UPGRADE, SWITCHING.replace(b"HTTP/1.1", b"HTTP/1.0")),
        (UPGRADE.replace(b"websocket", b"h2c"), SWITCHING.replace(b"websocket", b"h2c")),
    ],
)
async def test_an_upgrade_that_was_not_asked_for_is_a_502(
    gateway: Gateway, upstream: Upstream, request_head: bytes, answer: bytes
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(request_head)
    peer = await upstream.accept()
    await peer.request()
    peer.send(answer + b"\x81\x05hello")
    response = await client.response()
    assert (response.status, b"hello" in response.body) == (502, False)
    assert await peer.closed()
    assert gateway.codes() == {("all", 502, False): 1}


async def test_a_101_before_the_end_of_the_request_is_a_502(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, request_buffering=False))
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE[:-2] + b"Content-Length: 4\r\n\r\nbo")
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\nbo")
    peer.send(SWITCHING)
    assert (await client.response()).status == 502
    assert await peer.closed()


# -- back-pressure


@pytest.mark.both_loops
@pytest.mark.parametrize("speaker", ["client", "upstream"])
async def test_a_side_is_read_no_faster_than_the_other_takes(
    start_gateway: StartGateway, speaker: str
):
    upstream = Upstream()
    await upstream.start(receive_buffer=4096)
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=4096)
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING)
    await switched(client)
    source, sink = (client, peer) if speaker == "client" else (peer, client)
    pouring = Pouring(source, bytes(64_000), 300)
    await pouring.stalled()
    assert not pouring.done()
    sink.send(b"the other way is free")
    await takes(source, b"the other way is free")
    drinking = asyncio.create_task(drink(sink, 19_200_000))
    await pouring.end()
    await drinking
    await carries_on(client, peer)
    await client.close()
    await peer.close()
    await upstream.stop()


# -- how it ends


@pytest.mark.both_loops
@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_either_side_may_end_before_the_other(
    gateway: Gateway, upstream: Upstream, first: str
):
    client, peer = await tunnel(gateway, upstream)
    ended, speaking = (client, peer) if first == "client" else (peer, client)
    ended.send(b"my last words")
    ended.half_close()
    assert await speaking.rest() == b"my last words"
    for _ in range(3):
        speaking.send(b"mine are not")
        await takes(ended, b"mine are not")
    speaking.half_close()
    assert await ended.closed()
    await eventually(lambda: not gateway.connections)
    assert gateway.codes() == {("all", 101, True): 1}


@pytest.mark.both_loops
@pytest.mark.parametrize("leaver", ["client", "upstream"])
@pytest.mark.parametrize("manner", ["close", "reset"])
async def test_when_one_side_is_gone_the_other_is_closed(
    gateway: Gateway, upstream: Upstream, leaver: str, manner: str
):
    client, peer = await tunnel(gateway, upstream)
    gone, left = (client, peer) if leaver == "client" else (peer, client)
    await carries_on(client, peer)
    await (gone.close() if manner == "close" else gone.reset())
    assert await left.closed()
    await left.close()
    await eventually(lambda: not gateway.connections)
    await eventually(lambda: not gateway.proxy.pools._pools)


@pytest.mark.both_loops
async def test_what_an_upstream_said_before_it_closed_arrives(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING + bytes(1_000_000))
    await peer.close()
    await switched(client)
    assert await client.rest() == bytes(1_000_000)


async def test_an_upstream_may_close_at_once(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING)
    await peer.close()
    await switched(client)
    assert await client.closed()
    client.half_close()
    await eventually(lambda: not gateway.connections)


async def test_no_tunnel_connection_serves_another_request(gateway: Gateway, upstream: Upstream):
    client, peer = await tunnel(gateway, upstream)
    upstream.scripted = False
    assert (await gateway.ask(GET)).status == 200
    assert len(upstream.connections) == 2
    await client.close()
    assert await peer.closed()
    await peer.close()
    await eventually(lambda: not gateway.connections)
    assert (await gateway.ask(GET)).status == 200
    assert len(upstream.connections) == 2
    assert gateway.idle_upstream_connections() == 1


@pytest.mark.both_loops
async def test_a_silent_tunnel_is_cut_after_the_read_timeout(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, to={"read_timeout": SOON_MS}))
    client, peer = await tunnel(gateway, upstream)
    assert await client.closed()
    assert await peer.closed()
    await eventually(lambda: gateway.codes() == {("all", 101, True): 1})


@pytest.mark.parametrize("speaker", ["client", "upstream"])
async def test_a_word_from_either_side_puts_the_read_timeout_off(
    start_gateway: StartGateway, upstream: Upstream, speaker: str
):
    """Another tunnel, a silent one, serves as the clock."""
    gateway = await start_gateway(one_route(upstream, to={"read_timeout": 100}))
    client, peer = await tunnel(gateway, upstream)
    silent, _ = await tunnel(gateway, upstream)
    source, sink = (client, peer) if speaker == "client" else (peer, client)
    clock = asyncio.create_task(silent.closed())
    while not clock.done():
        source.send(b"word")
        await takes(sink, b"word")
    await carries_on(client, peer)


async def talk(peer: Peer) -> None:
    while True:
        peer.send(b"word")
        await asyncio.sleep(0)


@pytest.mark.both_loops
@pytest.mark.parametrize("speaker", ["client", "upstream"])
async def test_a_side_that_takes_nothing_is_cut_after_the_write_timeout(
    start_gateway: StartGateway, speaker: str
):
    """However much it says itself."""
    upstream = Upstream()
    await upstream.start(receive_buffer=4096)
    gateway = await start_gateway(
        one_route(upstream, to={"write_timeout": SOON_MS}), buffer_limit_bytes=4096
    )
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING)
    await switched(client)
    source, stubborn = (client, peer) if speaker == "client" else (peer, client)
    pouring = Pouring(source, bytes(64_000), 1000)
    talking = asyncio.create_task(talk(stubborn))
    listening = asyncio.create_task(drink(source, 1_000_000_000))
    with pytest.raises(ConnectionError):
        await pouring.end()
    with pytest.raises((AssertionError, ConnectionError)):
        await listening
    talking.cancel()
    await eventually(lambda: not gateway.connections)
    assert gateway.codes() == {("all", 101, True): 1}
    await upstream.stop()


class StillTransport(asyncio.Transport):
    """A transport of which the test says how much waits in it."""

    def __init__(self) -> None:
        self.unsent_bytes = 0
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unsent_bytes += len(data)

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def close(self) -> None:
        return

    def abort(self) -> None:
        self.aborted = True


class StillConnection:
    """A connection of a tunnel without a socket."""

    def __init__(self) -> None:
        self.transport = StillTransport()

    def leave_to(self, end: TunnelEnd) -> bytes:
        self.end = end
        end.connection_made(self.transport)
        return b""

    def connection_lost(self, exc: Exception | None) -> None:
        return


def still_tunnel(
    time: Callable[[], float],
) -> tuple[StillConnection, StillConnection, list[str]]:
    """Both connections of a tunnel without sockets, and why it was cut."""
    cuts: list[str] = []
    exchange = SimpleNamespace(on_tunnel_cut=cuts.append, ingress_bytes=0, egress_bytes=0)
    service = SimpleNamespace(read_timeout_s=60.0, write_timeout_s=10.0)
    loop: Any = SimpleNamespace(time=time)
    client, upstream = StillConnection(), StillConnection()
    tunnel = Tunnel(exchange, service, DeadlineWheel(loop), loop)  # type: ignore[arg-type]
    tunnel.begin(client, upstream, bytes(3))
    return client, upstream, cuts


def test_a_deadline_of_a_side_that_is_gone_is_none():
    """It may just have been reached: the wheel tells of it a little later."""
    now = 0.0
    client, _, cuts = still_tunnel(lambda: now)
    client.end.pause_writing()
    now = client.end.deadline
    client.end.connection_lost(None)
    client.end._tunnel.wheel._expire(client.end)
    assert cuts == []


def test_a_side_that_takes_little_is_not_taken_for_one_that_takes_nothing():
    now = 0.0
    client, upstream, cuts = still_tunnel(lambda: now)
    client.end.pause_writing()
    for unsent_bytes in (2, 1):
        client.transport.unsent_bytes = unsent_bytes
        now = client.end.deadline
        client.end.on_deadline()
        assert client.end.deadline == now + 10
    now = client.end.deadline
    client.end.on_deadline()
    assert client.transport.aborted
    assert upstream.transport.aborted
    assert cuts == ["a side took nothing for 10 s, the service's write_timeout"]


async def test_a_survivor_that_takes_nothing_is_given_up(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(
        one_route(upstream, to={"write_timeout": SOON_MS}), buffer_limit_bytes=16_000_000
    )
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    client.send(UPGRADE)
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING + bytes(12_000_000))
    await peer.drained()
    await peer.reset()
    await eventually(lambda: not gateway.connections)
    assert gateway.codes() == {("all", 101, True): 1}


# -- TLS, which cannot end in one direction only


async def secured_tunnel(
    start_gateway: StartGateway, upstream: Upstream
) -> tuple[Gateway, Client, UpstreamPeer]:
    """A tunnel to an https upstream, of a client that speaks TLS too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, Authority().issue("127.0.0.1"))
    await upstream.start(tls=context)
    gateway = await start_gateway(one_route(upstream, to={"protocol": "https"}), proxy_tls_port=0)
    upstream.scripted = True
    client = await gateway.connect(tls=ClientTls())
    client.send(UPGRADE + b"early")
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING + b"welcome")
    await switched(client)
    await takes(client, b"welcome")
    await takes(peer, b"early")
    return gateway, client, peer


@pytest.mark.both_loops
@pytest.mark.parametrize("leaver", ["client", "upstream"])
@pytest.mark.parametrize("manner", ["close", "reset"])
async def test_a_secured_tunnel_carries_both_ways_and_ends_with_either(
    start_gateway: StartGateway, leaver: str, manner: str
):
    upstream = Upstream()
    gateway, client, peer = await secured_tunnel(start_gateway, upstream)
    await carries_on(client, peer)
    gone, left = (client, peer) if leaver == "client" else (peer, client)
    if manner == "close":
        gone.send(bytes(500_000))
        await gone.close()
        assert await left.rest() == bytes(500_000)
    else:
        await gone.reset()
        assert await left.closed()
    await left.close()
    await eventually(lambda: not gateway.connections)
    await eventually(lambda: not gateway.proxy.pools._pools)
    assert gateway.codes() == {("all", 101, True): 1}
    await upstream.stop()


@pytest.mark.both_loops
async def test_the_end_of_a_plain_side_is_the_end_of_a_secured_one(start_gateway: StartGateway):
    upstream = Upstream()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, Authority().issue("127.0.0.1"))
    await upstream.start(tls=context)
    gateway = await start_gateway(one_route(upstream, to={"protocol": "https"}))
    client, peer = await tunnel(gateway, upstream)
    client.send(b"my last words")
    client.half_close()
    assert await peer.rest() == b"my last words"
    await peer.close()
    assert await client.closed()
    await eventually(lambda: not gateway.connections)
    await upstream.stop()


# -- on stop, and in the books


async def test_a_drain_waits_for_a_tunnel_and_then_cuts_it(gateway: Gateway, upstream: Upstream):
    client, peer = await tunnel(gateway, upstream)
    (connection,) = gateway.connections
    assert connection.busy
    connection.shutdown()
    await carries_on(client, peer)
    connection.cut()
    assert await client.closed()
    assert await peer.closed()
    await eventually(lambda: gateway.codes() == {("all", 101, True): 1})


async def test_a_proxy_that_stops_cuts_what_is_left(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream))
    client, peer = await tunnel(gateway, upstream)
    await gateway.proxy.pools.stop()
    assert await client.closed()
    assert await peer.closed()


async def test_a_tunnel_is_counted_at_its_end_with_all_it_has_carried(
    gateway: Gateway, upstream: Upstream
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(UPGRADE + b"early")
    peer = await upstream.accept()
    await peer.request()
    peer.send(SWITCHING + b"welcome")
    async with asyncio.timeout(DEADLINE_S):
        head = await client.reader.readuntil(b"\r\n\r\n")
    await takes(client, b"welcome")
    client.send(b"1234")
    await takes(peer, b"early1234")
    assert gateway.codes() == {}
    await client.reset()
    await eventually(gateway.codes)
    (traffic,) = gateway.traffic
    assert gateway.codes() == {("all", 101, True): 1}
    assert traffic.ingress_bytes == len(UPGRADE) + len(b"early1234")
    assert traffic.egress_bytes == len(head) + len(b"welcome")


async def test_how_long_a_tunnel_lasts_is_no_latency(gateway: Gateway, upstream: Upstream):
    client, peer = await tunnel(gateway, upstream)
    await carries_on(client, peer)
    await client.reset()
    await eventually(gateway.codes)
    (traffic,) = gateway.traffic
    assert [sum(histogram[:-1]) for histogram in (traffic.own_ms, traffic.request_ms)] == [1, 1]
    assert traffic.request_ms[-1] == pytest.approx(traffic.own_ms[-1] + traffic.upstream_ms[-1])

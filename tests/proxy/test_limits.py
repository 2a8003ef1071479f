"""What a client may not do: send too much, take too long, or come too often."""

from __future__ import annotations

import asyncio

import pytest

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import OK, Client, Pouring, Upstream, UpstreamPeer, drink, eventually, unchanging

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nxyz"
SOON = 0.02
LARGE = 32_000_000  # more than the kernel takes, whatever its buffers


@pytest.mark.both_loops
async def test_a_client_that_sends_nothing_is_closed(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), header_timeout_s=SOON)
    client = await gateway.connect()
    assert await client.closed()


async def test_an_empty_line_after_a_request_begins_no_other(
    start_gateway: StartGateway, upstream: Upstream
):
    """A client that ends its bodies so would take an answer for one to its next request."""
    gateway = await start_gateway(one_route(upstream), header_timeout_s=SOON)
    client = await gateway.connect()
    assert (await client.ask(GET + b"\r\n")).status == 200
    assert await client.closed()


@pytest.mark.both_loops
async def test_a_head_that_does_not_end_is_refused(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream), header_timeout_s=SOON)
    client = await gateway.connect()
    client.send(b"GET / HTTP/1.1\r\nHost")
    response = await client.response()
    assert (response.status, response["Connection"]) == (408, "close")
    assert await client.closed()
    assert gateway.traffic.refused == {408: 1}


async def test_the_deadline_of_a_head_is_not_put_off_by_sending_more_of_it(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), header_timeout_s=0.1)
    client = await gateway.connect()
    dripping = asyncio.create_task(drip(client))
    assert (await client.response()).status == 408
    dripping.cancel()


async def drip(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nX: ")
    while True:
        client.send(b"a")
        await asyncio.sleep(0.005)


async def test_the_time_for_a_head_begins_with_its_first_byte(
    start_gateway: StartGateway, upstream: Upstream
):
    """A kept connection has the idle time to send nothing, then the time of a head for a head."""
    gateway = await start_gateway(one_route(upstream), header_timeout_s=SOON)
    client, clock = await gateway.connect(), await gateway.connect()
    await client.ask(GET)
    assert await clock.closed()  # it has sent nothing at all
    assert (await client.ask(GET)).status == 200
    client.send(b"GET")
    assert (await client.response()).status == 408


@pytest.mark.both_loops
async def test_an_idle_connection_is_closed(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream), keepalive_timeout_s=SOON)
    client = await gateway.connect()
    assert (await client.ask(GET)).status == 200
    assert await client.closed()
    assert gateway.traffic.refused == {}


@pytest.mark.both_loops
async def test_a_body_that_stops_coming_is_a_408(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream, request_buffering=False), body_timeout_s=SOON)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(HALF_POST)
    peer = await upstream.accept()
    await peer.until(b"xyz")
    response = await client.response()
    assert (response.status, response["Connection"]) == (408, "close")
    assert await client.closed()
    assert await peer.closed()
    assert gateway.codes() == {("all", 408, False): 1}


async def test_a_body_that_has_come_puts_no_deadline_on_its_response(
    start_gateway: StartGateway, upstream: Upstream
):
    """Another client whose body stops serves as the clock."""
    gateway = await start_gateway(one_route(upstream), body_timeout_s=SOON)
    upstream.scripted = True
    client, clock = await gateway.connect(), await gateway.connect()
    client.send(HALF_POST + b"uvw")
    peer = await upstream.accept()
    await peer.request()
    clock.send(HALF_POST)
    assert (await clock.response()).status == 408
    peer.send(OK)
    assert (await client.response()).status == 200


async def test_a_body_that_stops_coming_after_the_response_began_is_cut(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, request_buffering=False), body_timeout_s=SOON)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(HALF_POST)
    peer = await upstream.accept()
    await peer.until(b"xyz")
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    assert (await client.rest()).endswith(b"hel")
    assert await peer.closed()


@pytest.mark.both_loops
async def test_a_client_that_takes_nothing_of_a_response_is_given_up(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(
        one_route(upstream, response_buffering=False),
        body_timeout_s=SOON,
        buffer_limit_bytes=65_536,
    )
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 32000000\r\n\r\n")
    with pytest.raises(ConnectionError):
        await Pouring(peer, bytes(64_000), 500).end()
    await eventually(lambda: not gateway.connections)
    assert gateway.codes() == {("all", 200, True): 1}


@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"])
async def test_a_client_that_takes_nothing_of_the_last_piece_is_given_up(
    start_gateway: StartGateway, upstream: Upstream, closing: bytes
):
    """The exchange is over and less than the buffer limit is left, but it must go too."""
    gateway = await start_gateway(
        one_route(upstream),
        body_timeout_s=SOON,
        keepalive_timeout_s=SOON,
        buffer_limit_bytes=16_000_000,
    )
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12000000\r\n\r\n" + bytes(12_000_000)
    client = await gateway.connect(receive_buffer=4096)
    client.send(GET[:-2] + closing + b"\r\n")
    await eventually(gateway.codes)
    await eventually(lambda: not gateway.connections)


@pytest.mark.both_loops
@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"])
async def test_a_client_that_takes_a_response_slowly_is_waited_for(
    start_gateway: StartGateway, upstream: Upstream, closing: bytes
):
    """All of it is in the transport, and it need not take all of that in one `body_timeout_s`."""
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=11_000_000)
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12000000\r\n\r\n" + bytes(12_000_000)
    client = await gateway.connect(receive_buffer=4096)
    client.send(GET[:-2] + closing + b"\r\n")
    await eventually(gateway.codes)
    (connection,) = gateway.connections
    for _ in range(3):
        await drink(client, 1_000_000)
        await unchanging(connection._transport.get_write_buffer_size)
        connection.deadline = 0
        connection.on_deadline()
        assert connection.deadline > gateway.proxy.loop.time()
    await drink(client, 2000)  # less than at the rate that is asked for
    await unchanging(connection._transport.get_write_buffer_size)
    connection.deadline = 0
    connection.on_deadline()
    await eventually(lambda: not gateway.connections)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", HALF_POST])
async def test_a_client_that_ends_and_takes_nothing_is_given_up(
    start_gateway: StartGateway, upstream: Upstream, begun: bytes
):
    """There is nothing to wait for from it, but an answer that it has not taken."""
    gateway = await start_gateway(
        one_route(upstream), body_timeout_s=SOON, buffer_limit_bytes=16_000_000
    )
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12000000\r\n\r\n" + bytes(12_000_000)
    client = await gateway.connect(receive_buffer=4096)
    client.send(GET)
    await eventually(gateway.codes)
    client.send(begun)
    client.half_close()
    await eventually(lambda: not gateway.connections)


async def early_answer(gateway: Gateway, upstream: Upstream) -> tuple[Client, UpstreamPeer]:
    """A client that has sent half of its body, and an upstream that begins a large answer."""
    upstream.scripted = True
    client = await gateway.connect(receive_buffer=4096)
    client.send(HALF_POST)
    peer = await upstream.accept()
    await peer.until(b"xyz")
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (LARGE + 1))
    await Pouring(peer, bytes(64_000), LARGE // 64_000).end()
    return client, peer


async def test_a_client_that_takes_nothing_is_given_up_though_its_body_ends_meanwhile(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, request_buffering=False), body_timeout_s=2)
    client, _ = await early_answer(gateway, upstream)
    client.send(b"abc")
    await eventually(lambda: not gateway.connections)


async def test_a_body_that_stops_coming_is_cut_though_the_response_was_taken_meanwhile(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, request_buffering=False), body_timeout_s=2)
    client, peer = await early_answer(gateway, upstream)
    await client.reader.readuntil(b"\r\n\r\n")
    await drink(client, LARGE)
    await eventually(lambda: not gateway.connections)
    assert await peer.closed()


# -- the size of a body


def chunked(*sizes: int) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (size, b"a" * size) for size in sizes)
    return b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def whole(size: int) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % size + b"a" * size


@pytest.mark.parametrize("framed", [whole(10), chunked(10), chunked(5, 5)])
async def test_a_body_may_be_as_large_as_the_limit(
    start_gateway: StartGateway, upstream: Upstream, framed: bytes
):
    gateway = await start_gateway(one_route(upstream), body_limit_bytes=10)
    assert (await gateway.ask(b"POST / HTTP/1.1\r\nHost: a\r\n" + framed)).status == 200


@pytest.mark.parametrize("framed", [whole(11), chunked(11), chunked(5, 6)])
async def test_a_larger_body_is_a_413(
    start_gateway: StartGateway, upstream: Upstream, framed: bytes
):
    gateway = await start_gateway(one_route(upstream), body_limit_bytes=10)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framed + GET)
    response = await client.response()
    assert (response.status, response["Connection"]) == (413, "close")
    assert await client.closed()
    assert gateway.proxy.counts.total_requests == 1


async def test_a_body_announced_too_large_never_goes_upstream(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), body_limit_bytes=10)
    response = await gateway.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (response.status, response.interim) == (413, [])
    assert upstream.connections == []
    assert gateway.traffic.unmatched == {}
    assert gateway.traffic.refused == {413: 1}


# -- requests ahead


async def test_what_a_client_sends_ahead_is_bounded(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=4096)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    flooding = Pouring(client, GET * 1000, 1000)
    await flooding.stalled()
    assert not flooding.done()
    peer.send(OK)
    assert (await client.response()).status == 200
    flooding.cancel()


# -- counting


async def test_bytes_and_times_are_counted_by_route(gateway: Gateway, upstream: Upstream):
    client = await gateway.connect()
    message = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
    client.send(message)
    head = await client.reader.readuntil(b"\r\n\r\n")
    body = await client.reader.readexactly(2)
    (traffic,) = gateway.traffic
    assert (traffic.service, traffic.route) == ("orders", "all")
    assert traffic.ingress_bytes == len(message)
    assert traffic.egress_bytes == len(head + body)
    for histogram in (traffic.own_ms, traffic.upstream_ms, traffic.request_ms):
        assert sum(histogram[:-1]) == 1
    assert traffic.own_ms[-1] + traffic.upstream_ms[-1] <= traffic.request_ms[-1]

"""Connections that serve one exchange after another, on both sides."""

from __future__ import annotations

import asyncio

import pytest

from gateway.proxy import downstream

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import OK, Client, Request, Upstream, UpstreamPeer, eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"


def echo(request: Request) -> bytes:
    """A response that names its request."""
    body = request.target.encode() + b" " + request.body
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


# -- the client's side


@pytest.mark.both_loops
async def test_one_connection_on_each_side_serves_many_requests(
    gateway: Gateway, upstream: Upstream
):
    client = await gateway.connect()
    for _ in range(5):
        response = await client.ask(GET)
        assert (response.status, "Connection" in response) == (200, False)
        assert (await client.ask(POST)).status == 200
    assert upstream.requests_by_connection == {1: 10}
    assert gateway.proxy.counts.total_requests == 10
    assert gateway.proxy.counts.accepted == 1


async def test_a_client_that_asks_for_it_is_closed(gateway: Gateway, upstream: Upstream):
    client = await gateway.connect()
    response = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (response.body, response["Connection"]) == (b"ok", "close")
    assert await client.closed()
    await gateway.ask(GET)
    assert len(upstream.connections) == 1


async def test_a_closing_connection_does_not_lose_its_answer_to_what_came_ahead(
    start_gateway: StartGateway, upstream: Upstream
):
    """Closing a socket that holds unread bytes would reset it, and drop what is not yet sent."""
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=4096)
    size = 1_000_000
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    client = await gateway.connect(receive_buffer=4096)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET * 50_000)
    await eventually(lambda: upstream.requests)
    response = await client.response()
    assert (len(response.body), response["Connection"]) == (size, "close")


async def test_http_1_0_stays_open_only_if_it_asks(gateway: Gateway):
    client = await gateway.connect()
    for _ in range(2):
        response = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (response.body, response["Connection"]) == (b"ok", "keep-alive")
    response = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert (response.body, response["Connection"]) == (b"ok", "close")
    assert await client.closed()


async def test_a_connection_serves_so_many_requests_and_no_more(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), keepalive_requests=2)
    client = await gateway.connect()
    assert "Connection" not in await client.ask(GET)
    client.send(GET + GET)
    assert (await client.response())["Connection"] == "close"
    assert await client.closed()
    assert len(upstream.requests) == 2


async def test_a_draining_proxy_closes_after_each_answer(gateway: Gateway):
    client = await gateway.connect()
    await client.ask(GET)
    gateway.proxy.announce_end()
    assert (await client.ask(GET))["Connection"] == "close"
    assert await client.closed()


@pytest.mark.both_loops
async def test_a_draining_proxy_waits_for_a_client_that_takes_its_answer_slowly(
    start_gateway: StartGateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(downstream, "_LINGER_S", 0.05)
    gateway = await start_gateway(one_route(upstream), buffer_limit_bytes=16_000_000)
    size = 6_000_000
    upstream.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    gateway.proxy.announce_end()
    client = await gateway.connect(receive_buffer=4096)
    client.send(GET)
    await eventually(gateway.codes)
    await asyncio.sleep(0.2)  # longer than a client without anything to take is waited for
    assert len((await client.response()).body) == size


async def test_an_answer_of_our_own_leaves_the_connection_open(start_gateway: StartGateway):
    client = await (await start_gateway({})).connect()
    for _ in range(2):
        assert (await client.ask(GET)).status == 404


@pytest.mark.both_loops
async def test_pipelined_requests_are_answered_in_order(gateway: Gateway, upstream: Upstream):
    upstream.answer = echo
    client = await gateway.connect()
    wanted = []
    for number in range(60):
        target = f"/{number}"
        match number % 3:
            case 0:
                client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            case 1:
                client.send(
                    f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody".encode()
                )
            case 2:
                head = f"PUT {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                client.send(head.encode() + b"4\r\nbody\r\n0\r\n\r\n")
        wanted.append(f"{target} {'body' if number % 3 else ''}".encode())
    assert [(await client.response()).body for _ in wanted] == wanted
    assert len(upstream.connections) == 1


async def test_pipelined_requests_of_our_own_answering_too(start_gateway: StartGateway):
    client = await (await start_gateway({})).connect()
    client.send(GET * 500)
    assert [(await client.response()).status for _ in range(500)] == [404] * 500


async def test_a_pipelined_request_waits_for_its_turn(gateway: Gateway, upstream: Upstream):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT")
    peer = await upstream.accept()
    assert (await peer.request()).target == "/1"
    assert peer.unread == b""
    assert len(upstream.connections) == 1
    peer.send(OK)
    assert (await peer.request()).target == "/2"
    peer.send(OK)
    client.send(b"TP/1.1\r\nHost: a\r\n\r\n")
    assert (await peer.request()).target == "/3"
    peer.send(OK)
    assert [(await client.response()).status for _ in range(3)] == [200, 200, 200]


async def test_requests_may_be_cut_anywhere(gateway: Gateway, upstream: Upstream):
    upstream.answer = echo
    message = (
        b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
        b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    client = await gateway.connect()
    for cut in range(1, len(message)):
        client.send(message[:cut])
        await client.drained()
        client.send(message[cut:])
        assert (await client.response()).body == b"/1 abcde"
        assert (await client.response()).body == b"/2 "


# -- the upstream side


async def test_requests_at_the_same_time_use_connections_of_their_own(
    gateway: Gateway, upstream: Upstream
):
    upstream.scripted = True
    clients = [await gateway.connect() for _ in range(3)]
    for client in clients:
        client.send(GET)
    peers = [await upstream.accept() for _ in clients]
    for peer in peers:
        await peer.request()
        peer.send(OK)
    for client in clients:
        assert (await client.response()).status == 200
    for client in clients:
        client.send(GET)
    for peer in peers:
        await peer.request()
        peer.send(OK)
    for client in clients:
        assert (await client.response()).status == 200
    assert len(upstream.connections) == 3


@pytest.mark.parametrize("size", [0, 1])
async def test_no_more_idle_connections_are_kept_than_the_pool_may_hold(
    start_gateway: StartGateway, upstream: Upstream, size: int
):
    gateway = await start_gateway(one_route(upstream), upstream_keepalive_pool_size=size)
    upstream.scripted = True
    clients = [await gateway.connect() for _ in range(2)]
    for client in clients:
        client.send(GET)
    peers = [await upstream.accept() for _ in clients]
    for peer in peers:
        await peer.request()
        peer.send(OK)
    for client in clients:
        assert (await client.response()).status == 200
    await eventually(lambda: sum(peer.reader.at_eof() for peer in peers) == 2 - size)
    assert gateway.idle_upstream_connections() == size


async def test_an_upstream_connection_serves_so_many_requests_and_no_more(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), upstream_keepalive_requests=2)
    client = await gateway.connect()
    for _ in range(5):
        await client.ask(GET)
    assert upstream.requests_by_connection == {1: 2, 2: 2, 3: 1}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_an_upstream_that_closes_is_believed(
    gateway: Gateway, upstream: Upstream, answer: bytes
):
    upstream.answer = answer
    client = await gateway.connect()
    for _ in range(2):
        assert "Connection" not in await client.ask(GET)
    assert upstream.requests_by_connection == {1: 1, 2: 1}


async def test_an_idle_upstream_connection_is_closed_after_a_while(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), upstream_keepalive_timeout_s=0.01)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(OK)
    assert (await client.response()).status == 200
    assert await peer.closed()
    upstream.scripted = False
    assert (await client.ask(GET)).status == 200


@pytest.mark.both_loops
@pytest.mark.parametrize("more", [b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"])
async def test_bytes_after_a_response_never_reach_the_next_client(
    gateway: Gateway, upstream: Upstream, more: bytes
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(OK)
    assert (await client.response()).body == b"ok"
    peer.send(more)
    assert await peer.closed()
    upstream.scripted = False
    assert (await client.ask(POST)).body == b"ok"
    assert len(upstream.connections) == 2


@pytest.mark.both_loops
@pytest.mark.parametrize("message", [GET, POST])
async def test_an_upstream_that_closes_an_idle_connection_fails_no_request(
    gateway: Gateway, upstream: Upstream, message: bytes
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(OK)
    await client.response()
    await peer.close()
    upstream.scripted = False
    await eventually(lambda: not gateway.idle_upstream_connections())
    assert (await client.ask(message)).status == 200


@pytest.mark.both_loops
@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_an_upstream_that_ends_in_the_same_moment_as_a_request_comes_fails_none(
    gateway: Gateway, upstream: Upstream, last_words: bytes
):
    """Both are there when the event loop looks; the end was first."""
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(OK)
    await client.response()
    upstream.scripted = False
    await eventually(gateway.idle_upstream_connections)
    peer.strike(last_words)
    client.strike(POST)
    assert (await client.response()).status == 200


async def two_used_connections(
    gateway: Gateway, upstream: Upstream
) -> tuple[Client, list[UpstreamPeer]]:
    """A client, and two connections of the pool that have served a request before."""
    upstream.scripted = True
    clients = [await gateway.connect() for _ in range(2)]
    for client in clients:
        client.send(GET)
    peers = [await upstream.accept() for _ in clients]
    for peer in peers:
        await peer.request()
        peer.send(OK)
    for client in clients:
        await client.response()
    return clients[0], peers


async def test_the_extra_try_for_a_used_connection_is_given_once(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, to={"retries": 0}))
    client, peers = await two_used_connections(gateway, upstream)
    client.send(GET)
    for peer in reversed(peers):  # the connection used last is taken first
        await peer.request()
        await peer.close()
    assert (await client.response()).status == 502
    assert len(upstream.connections) == 2


async def test_there_is_no_extra_try_for_a_used_connection_that_is_silent(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, to={"retries": 0, "read_timeout": 20}))
    client, peers = await two_used_connections(gateway, upstream)
    client.send(GET)
    assert (await client.response()).status == 504
    await peers[1].request()
    assert peers[0].reader._buffer == b""  # type: ignore[attr-defined]


async def test_a_reused_connection_that_dies_unanswered_gives_an_extra_try(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, to={"retries": 0}))
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    peer.send(OK)
    await client.response()
    client.send(GET)
    await peer.request()
    await peer.close()
    again = await upstream.accept()
    await again.request()
    again.send(OK)
    assert (await client.response()).status == 200
    client.send(GET)
    await again.request()
    await again.close()
    last = await upstream.accept()
    await last.request()
    await last.close()  # the extra try is given once, and this connection was a fresh one
    assert (await client.response()).status == 502


async def test_a_post_is_not_repeated_even_if_its_connection_was_a_used_one(
    gateway: Gateway, upstream: Upstream
):
    upstream.scripted = True
    client = await gateway.connect()
    client.send(POST)
    peer = await upstream.accept()
    await peer.request()
    peer.send(OK)
    await client.response()
    client.send(POST)
    await peer.request()
    await peer.close()
    assert (await client.response()).status == 502
    assert len(upstream.connections) == 1

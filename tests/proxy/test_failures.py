"""Upstreams that refuse, reset, fall silent or talk nonsense: retries, and the final answer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.snapshot.rows import route, service, target
from tests.snapshot.rows import upstream as upstream_row

from .conftest import StartGateway
from .gateway import Gateway, Tables, one_route
from .peers import OK, Client, Pouring, Upstream, UpstreamPeer, eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
PUT = POST.replace(b"POST", b"PUT")


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def unresponsive() -> Iterator[int]:
    """A port whose queue is full: connecting to it takes for ever."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def balanced(*addresses: str, **of_service: int) -> Tables:
    """A route to a service of an upstream entity with these targets."""
    pool, orders = upstream_row("pool"), service(host="pool", name="orders", **of_service)
    return {
        "services": [orders],
        "routes": [route(orders, name="all", paths=["/"])],
        "upstreams": [pool],
        "targets": [target(pool, address) for address in addresses],
    }


async def asked(
    gateway: Gateway, upstream: Upstream, message: bytes
) -> tuple[Client, UpstreamPeer]:
    """A client that has sent ``message``, and the upstream's connection that has received it."""
    upstream.scripted = True
    client = await gateway.connect()
    client.send(message)
    peer = await upstream.accept()
    await peer.request()
    return client, peer


# -- no connection


@pytest.mark.both_loops
@pytest.mark.parametrize("message", [GET, POST])
async def test_a_refused_connection_is_a_502(
    start_gateway: StartGateway, nobody: int, message: bytes
):
    gateway = await start_gateway(one_route(nobody))
    client = await gateway.connect()
    for _ in range(2):
        assert (await client.ask(message)).status == 502
    assert gateway.codes() == {("all", 502, False): 2}


@pytest.mark.both_loops
async def test_a_connection_that_takes_too_long_is_a_504(
    start_gateway: StartGateway, unresponsive: int
):
    gateway = await start_gateway(one_route(unresponsive, to={"connect_timeout": 10, "retries": 1}))
    assert (await gateway.ask(GET)).status == 504
    assert gateway.codes() == {("all", 504, False): 1}


async def test_the_last_failure_decides_the_status(
    start_gateway: StartGateway, nobody: int, unresponsive: int
):
    gateway = await start_gateway(
        balanced(f"127.0.0.1:{nobody}", f"127.0.0.1:{unresponsive}", connect_timeout=10, retries=1)
    )
    seen = {(await gateway.ask(GET)).status for _ in range(4)}
    assert seen == {502, 504}  # each target is the first of every second request


async def test_a_client_gone_while_connecting_ends_the_exchange(
    start_gateway: StartGateway, unresponsive: int
):
    gateway = await start_gateway(one_route(unresponsive, to={"connect_timeout": 100}))
    client = await gateway.connect()
    client.send(GET)
    await eventually(lambda: gateway.proxy.counts.total_requests)
    await client.reset()
    await eventually(gateway.codes)
    assert gateway.codes() == {("all", 499, False): 1}
    assert (await gateway.ask(POST)).status == 504  # by now the first attempt has failed as well
    assert gateway.codes() == {("all", 499, False): 1, ("all", 504, False): 1}


async def test_a_plain_server_is_no_tls_server(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(
        one_route(upstream, to={"protocol": "https", "retries": 0, "connect_timeout": 2000})
    )
    upstream.scripted = True
    client = await gateway.connect()
    client.send(POST)
    peer = await upstream.accept()
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert (await client.response()).status == 502
    assert b"POST" not in await peer.rest()


@pytest.mark.parametrize("message", [GET, POST, PUT])
async def test_another_target_is_tried_when_one_does_not_connect(
    start_gateway: StartGateway, upstream: Upstream, nobody: int, message: bytes
):
    gateway = await start_gateway(balanced(f"127.0.0.1:{nobody}", f"127.0.0.1:{upstream.port}"))
    client = await gateway.connect()
    for _ in range(4):
        assert (await client.ask(message)).status == 200
    assert len({request["X-Gateway-Request-Id"] for request in upstream.requests}) == 4


async def test_another_target_is_tried_when_one_does_not_resolve(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(balanced(f"{'a' * 64}.test:80", f"127.0.0.1:{upstream.port}"))
    client = await gateway.connect()
    for _ in range(4):
        assert (await client.ask(GET)).status == 200


# -- a connection that ends before a response


@pytest.mark.both_loops
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_request_is_tried_again_as_often_as_the_service_says(
    start_gateway: StartGateway, upstream: Upstream, how: str
):
    gateway = await start_gateway(one_route(upstream, to={"retries": 2}))
    client, peer = await asked(gateway, upstream, PUT)
    for _ in range(2):
        await (peer.reset() if how == "reset" else peer.close())
        peer = await upstream.accept()
        assert (await peer.request()).body == b"body"
    await (peer.reset() if how == "reset" else peer.close())
    assert (await client.response()).status == 502
    assert len(upstream.connections) == 3


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"LOCK"])
async def test_what_must_not_happen_twice_is_not_sent_twice(
    gateway: Gateway, upstream: Upstream, method: bytes
):
    client, peer = await asked(gateway, upstream, POST.replace(b"POST", method))
    await peer.reset()
    assert (await client.response()).status == 502
    assert len(upstream.connections) == 1


# -- silence


@pytest.mark.both_loops
async def test_a_silent_upstream_is_a_504(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream, to={"read_timeout": 20, "retries": 1}))
    client, first = await asked(gateway, upstream, GET)
    second = await upstream.accept()
    assert (await client.response()).status == 504
    assert await first.closed()
    assert (await second.rest()).startswith(b"GET / ")
    assert gateway.codes() == {("all", 504, False): 1}


async def test_a_post_is_sent_to_a_silent_upstream_once(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, to={"read_timeout": 20}))
    client, _ = await asked(gateway, upstream, POST)
    assert (await client.response()).status == 504
    assert len(upstream.connections) == 1


async def test_silence_within_a_body_cuts_the_client(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, to={"read_timeout": 20}))
    client, peer = await asked(gateway, upstream, GET)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    assert (await client.rest()).endswith(b"\r\n\r\nhel")
    assert await peer.closed()
    assert gateway.codes() == {("all", 200, True): 1}


async def test_a_slow_client_is_not_taken_for_a_silent_upstream(
    start_gateway: StartGateway, upstream: Upstream
):
    """While a body is still coming, no response is due; another request serves as the clock."""
    gateway = await start_gateway(
        one_route(upstream, to={"read_timeout": 20, "retries": 0}, request_buffering=False)
    )
    upstream.scripted = True
    slow = await gateway.connect()
    slow.send(POST[:-2])
    peer = await upstream.accept()
    await peer.until(b"bo")
    other, _ = await asked(gateway, upstream, GET)
    assert (await other.response()).status == 504
    slow.send(b"dy")
    await peer.until(b"dy")
    peer.send(OK)
    assert (await slow.response()).status == 200


async def test_an_upstream_that_takes_no_more_of_the_body_is_a_504(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(
        one_route(upstream, to={"write_timeout": 20}, request_buffering=False),
        buffer_limit_bytes=4096,
    )
    upstream.scripted = True
    client = await gateway.connect()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 32000000\r\n\r\n")
    pouring = Pouring(client, bytes(64_000), 500)
    assert (await client.response()).status == 504
    assert len(upstream.connections) == 1
    pouring.cancel()


# -- nonsense


NONSENSE = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "bad chunk at once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "unasked upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "big head": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 40_000,
    "too much": OK + b"more",
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_is_a_502_and_not_asked_for_again(
    gateway: Gateway, upstream: Upstream, answer: bytes
):
    client, peer = await asked(gateway, upstream, GET)
    peer.send(answer)
    assert (await client.response()).status == 502
    assert await peer.closed()
    assert len(upstream.connections) == 1
    assert gateway.codes() == {("all", 502, False): 1}
    upstream.scripted = False
    assert (await client.ask(GET)).status == 200

"""Clients that take their time, one or hundreds of them: others must not notice."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import OK, Client, ClientTls, Pouring, Upstream, eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD_BEGUN = b"GET / HTTP/1.1\r\nX: "
BODY_BEGUN = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
CLIENT_HELLO_BEGUN = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
DRIP_S = 0.02


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Each connection is two files here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class SlowClients:
    """Many bare sockets that have said ``first`` and go on byte by byte."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    async def connect(self, port: int, number: int, first: bytes) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(number):
            connected = socket.socket()
            connected.setblocking(False)
            try:
                await loop.sock_connect(connected, ("127.0.0.1", port))
            except BaseException:
                connected.close()
                raise
            connected.send(first)
            self.sockets.append(connected)

    async def drip(self) -> None:
        while True:
            await asyncio.sleep(DRIP_S)
            for connected in self.sockets:
                with suppress(OSError):  # it has been closed, and is full soon
                    connected.send(b"a")

    def said(self) -> list[bytes]:
        """What has come on each; b"" for nothing."""
        heard = []
        for connected in self.sockets:
            try:
                heard.append(connected.recv(65_536))
            except OSError:
                heard.append(b"")
        return heard


@asynccontextmanager
async def slow_clients(port: int, number: int, first: bytes) -> AsyncIterator[SlowClients]:
    clients = SlowClients()
    dripping = asyncio.create_task(clients.drip())
    try:
        await clients.connect(port, number, first)
        yield clients
    finally:
        dripping.cancel()
        for connected in clients.sockets:
            connected.close()


async def all_is_well(gateway: Gateway, tls: ClientTls | None = None) -> None:
    """Clients come and go, on new connections and on one that stays."""
    staying = await gateway.connect(tls=tls)
    for _ in range(5):
        assert (await staying.ask(GET)).status == 200
        passing = await gateway.connect(tls=tls)
        assert (await passing.ask(GET)).status == 200
        await passing.close()


# -- many


async def test_hundreds_that_never_come_to_an_end_are_given_up_each_in_its_time(
    start_gateway: StartGateway, upstream: Upstream
):
    """Heads, handshakes and bodies come byte by byte, responses are not taken."""
    gateway = await start_gateway(
        one_route(upstream),
        header_timeout_s=2,
        body_timeout_s=2,
        body_min_bytes_s=1000,
        buffer_limit_bytes=4096,
        proxy_tls_port=0,
    )
    size = 8_000_000
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    upstream.answer = lambda request: large if request.target == "/large" else OK
    async with (
        slow_clients(gateway.port, 300, HEAD_BEGUN) as heads,
        slow_clients(gateway.tls_port, 200, CLIENT_HELLO_BEGUN),
        slow_clients(gateway.port, 200, BODY_BEGUN) as bodies,
        slow_clients(gateway.port, 10, LARGE),
    ):
        await eventually(lambda: gateway.proxy.counts.accepted == 710)
        await all_is_well(gateway)
        await all_is_well(gateway, ClientTls())
        await eventually(lambda: len(gateway.connections) <= 2)
        assert gateway.traffic.refused == {408: 300}
        assert gateway.refusals == {"tls_handshake": 200}
        assert gateway.codes()["all", 408, False] == 200
        for said in heads.said() + bodies.said():
            assert said.startswith(b"HTTP/1.1 408 ")
    bothered = {(request.method, request.target) for request in upstream.requests}
    assert bothered == {("GET", "/"), ("GET", "/large")}  # not with bodies that did not come


async def test_hundreds_of_proxy_headers_that_never_end_are_given_up(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), header_timeout_s=1, proxy_protocol=True)
    async with slow_clients(gateway.port, 300, b"PROXY UNKNOWN "):
        good = await gateway.connect()
        good.send(b"PROXY UNKNOWN\r\n")
        assert (await good.ask(GET)).status == 200
        await good.close()
        await eventually(lambda: not gateway.connections)
    assert gateway.refusals == {"proxy_protocol": 300}


async def test_at_the_limit_they_give_way_to_others(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), max_connections=400)
    async with slow_clients(gateway.port, 500, HEAD_BEGUN):
        await eventually(lambda: gateway.proxy.counts.accepted == 500)
        assert len(gateway.proxy.admission) == 400
        await all_is_well(gateway)
    assert gateway.refusals == {}
    assert gateway.traffic.connections_gave_way >= 100


# -- one


async def post(client: Client, piece: bytes, pieces: int) -> None:
    """Send a body in many pieces, with a pause before each."""
    length = len(piece) * pieces
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
    for _ in range(pieces):
        await asyncio.sleep(DRIP_S)
        client.send(piece)


@pytest.mark.parametrize(
    ("piece", "settings", "route", "status"),
    [
        (b"a", {}, {}, 408),
        (b"a" * 500, {}, {}, 200),  # fast enough, and may take longer than a gap
        (b"a", {"body_min_bytes_s": 0}, {}, 200),
        (b"a", {}, {"request_buffering": False}, 200),  # the upstream waits with us
    ],
)
async def test_a_body_that_is_waited_for_has_to_come_at_a_rate(
    start_gateway: StartGateway,
    upstream: Upstream,
    piece: bytes,
    settings: dict[str, Any],
    route: dict[str, Any],
    status: int,
):
    settings = {"body_timeout_s": 0.4, "body_min_bytes_s": 1000} | settings
    gateway = await start_gateway(one_route(upstream, **route), **settings)
    client = await gateway.connect()
    posting = asyncio.create_task(post(client, piece, 35))
    assert (await client.response()).status == status
    posting.cancel()


async def test_after_a_refusal_only_so_much_is_read(
    start_gateway: StartGateway, upstream: Upstream
):
    """The answer is to reach a client that still sends, but not at any price."""
    gateway = await start_gateway(one_route(upstream), body_limit_bytes=10)
    client = await gateway.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
    flooding = Pouring(client, bytes(100_000), 1000)
    await flooding.stalled()
    assert not flooding.done()
    flooding.cancel()
    assert (await client.response()).status == 413

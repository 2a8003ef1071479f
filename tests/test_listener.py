"""Sockets and listeners: clear words when an address cannot be had, and nothing lost on stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from gateway.accept_queue import accept_waiting
from gateway.app_connection import AppLimits
from gateway.listener import Listener, ListenError, address_of, open_socket
from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.downstream import DownstreamConnection
from gateway.settings import NodeSettings
from gateway.snapshot import SnapshotApplier
from tests.proxy.gateway import fresh_proxy, one_route
from tests.proxy.peers import DEADLINE_S, OK, Client, Upstream, UpstreamPeer, eventually
from tests.snapshot.rows import full_load

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LONG_S = 60.0
"""What no test here waits for."""


# -- sockets


def test_a_free_port_is_opened_and_told():
    with open_socket("proxy", "127.0.0.1", 0, backlog=8) as opened:
        host, _, port = address_of(opened).partition(":")
        assert host == "127.0.0.1"
        with socket.create_connection((host, int(port))):
            pass


def test_an_ipv6_address_is_told_in_brackets():
    with open_socket("proxy", "::1", 0, backlog=8) as opened:
        assert address_of(opened).startswith("[::1]:")


def test_a_taken_port_is_named_with_the_way_out():
    with open_socket("admin", "127.0.0.1", 0, backlog=8) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(ListenError) as refusal:
            open_socket("admin", "127.0.0.1", port, backlog=8)
    assert str(refusal.value) == (
        f"port {port} of the admin listener is taken on 127.0.0.1: choose another with "
        "--admin-port or GATEWAY_ADMIN_PORT"
    )


def test_the_tls_listener_is_named_like_its_settings():
    with open_socket("proxy_tls", "127.0.0.1", 0, backlog=8) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(ListenError, match="--proxy-tls-port or GATEWAY_PROXY_TLS_PORT"):
            open_socket("proxy_tls", "127.0.0.1", port, backlog=8)


def test_a_shared_port_may_be_opened_twice_but_only_by_those_who_share():
    with open_socket("proxy", "127.0.0.1", 0, shared=True, backlog=8) as first:
        first.listen(8)
        port = first.getsockname()[1]
        open_socket("proxy", "127.0.0.1", port, shared=True, backlog=8).close()
        with pytest.raises(ListenError, match=f"port {port} of the proxy listener is taken"):
            open_socket("proxy", "127.0.0.1", port, backlog=8)


def test_a_shared_port_gets_no_clients_before_its_listener_starts():
    with (
        open_socket("proxy", "127.0.0.1", 0, shared=True, backlog=8) as opened,
        pytest.raises(ConnectionRefusedError),
    ):
        socket.create_connection(opened.getsockname())


def test_a_foreign_address_is_refused_in_one_sentence():
    with pytest.raises(ListenError, match=r"the proxy listener cannot use 192\.0\.2\.1:0: "):
        open_socket("proxy", "192.0.2.1", 0, backlog=8)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open any port")
def test_a_privileged_port_is_named_with_the_way_out():
    with pytest.raises(ListenError, match="port 1 of the proxy listener needs privileges"):
        open_socket("proxy", "127.0.0.1", 1, backlog=8)


# -- listeners


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


class Served:
    """A proxy behind a listener of its own; idle connections wait so long for a last request."""

    def __init__(self, drain_s: float, idle_s: float = 0.01) -> None:
        self.proxy = fresh_proxy(NodeSettings(drain_idle_s=idle_s), TrafficMetrics())
        opened = open_socket("proxy", "127.0.0.1", 0, backlog=8)
        self.port: int = opened.getsockname()[1]
        self.listener = Listener.of_protocol(
            "proxy", opened, partial(DownstreamConnection, self.proxy), drain_s=drain_s, backlog=8
        )
        self.clients: list[Client] = []

    async def start(self, upstream: Upstream) -> None:
        await SnapshotApplier(self.proxy.use).apply(full_load(one_route(upstream)))
        self.proxy.start()
        self.task = await self.listener.start()

    async def connect(self) -> Client:
        client = await Client.connect(self.port)
        self.clients.append(client)
        return client

    async def stop(self) -> None:
        """As a node stops."""
        self.proxy.announce_end()
        self.proxy.await_last_requests()
        await self.listener.stop()

    async def has_closed(self) -> None:
        """Wait until nobody can connect any more."""
        with contextlib.suppress(ConnectionRefusedError):
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    await (await Client.connect(self.port)).reset()

    async def close(self) -> None:
        for client in self.clients:
            await client.reset()
        await self.stop()
        await self.proxy.stop()


StartServed = Callable[..., Awaitable[Served]]


@pytest.fixture
async def start_served(upstream: Upstream) -> AsyncIterator[StartServed]:
    """Starts a proxy and its listener: ``await start_served(drain_s=5)``."""
    running: list[Served] = []

    async def start(drain_s: float = LONG_S, **options: Any) -> Served:
        served = Served(drain_s, **options)
        running.append(served)
        await served.start(upstream)
        return served

    yield start
    for served in running:
        await served.close()


@pytest.fixture
async def served(start_served: StartServed) -> Served:
    return await start_served()


async def begun(served: Served, upstream: Upstream) -> tuple[Client, UpstreamPeer]:
    """A client whose request has reached the upstream."""
    upstream.scripted = True
    client = await served.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    return client, peer


async def test_a_listener_serves_until_it_is_stopped(served: Served):
    client = await served.connect()
    assert (await client.ask(GET)).body == b"ok"
    assert len(served.listener.connections) == 1
    assert not served.task.done()
    await served.stop()
    assert served.task.done()
    assert await client.closed()  # it was idle
    with pytest.raises(ConnectionRefusedError):
        await served.connect()


async def test_a_request_under_way_ends_in_peace_and_its_connection_closes(
    served: Served, upstream: Upstream
):
    client, peer = await begun(served, upstream)
    idle = await served.connect()
    stopping = asyncio.create_task(served.stop())
    assert await idle.closed()
    assert not stopping.done()
    peer.send(OK)
    response = await client.response()
    assert (response.body, response["Connection"]) == (b"ok", "close")
    assert await client.closed()
    await client.close()
    await stopping


async def test_a_response_under_way_ends_whole(served: Served, upstream: Upstream):
    client, peer = await begun(served, upstream)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    await client.reader.readuntil(b"hel")
    idle = await served.connect()
    stopping = asyncio.create_task(served.stop())
    assert await idle.closed()
    peer.send(b"lo")
    assert await client.rest() == b"lo"
    await stopping


async def test_a_request_body_under_way_is_still_taken(served: Served, upstream: Upstream):
    upstream.scripted = True
    client = await served.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nxyz")
    await eventually(lambda: any(c.busy for c in served.listener.connections))
    idle = await served.connect()
    stopping = asyncio.create_task(served.stop())
    assert await idle.closed()
    client.send(b"uvw")
    peer = await upstream.accept()
    assert (await peer.request()).body == b"xyzuvw"
    peer.send(OK)
    assert (await client.response())["Connection"] == "close"
    await client.close()
    await stopping


async def test_a_request_on_its_way_while_its_connection_is_idle_is_the_last(
    start_served: StartServed,
):
    served = await start_served(idle_s=LONG_S)
    used, unused = await served.connect(), await served.connect()
    assert "Connection" not in await used.ask(GET)
    stopping = asyncio.create_task(served.stop())
    await served.has_closed()
    for client in (used, unused):
        assert (await client.ask(GET))["Connection"] == "close"
        assert await client.closed()
        await client.close()
    await stopping


async def test_a_client_that_was_not_told_in_time_gets_to_ask_once_more(
    start_served: StartServed, upstream: Upstream
):
    served = await start_served(idle_s=LONG_S)
    client, peer = await begun(served, upstream)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    await client.reader.readuntil(b"hel")
    stopping = asyncio.create_task(served.stop())
    await served.has_closed()
    peer.send(b"lo")
    assert await client.reader.readexactly(2) == b"lo"
    client.send(GET)
    await peer.request()
    peer.send(OK)
    assert (await client.response())["Connection"] == "close"
    assert await client.closed()
    await client.close()
    await stopping


async def test_a_request_that_has_begun_to_come_is_waited_for(served: Served):
    client = await served.connect()
    client.send(GET[:20])
    await eventually(lambda: any(c.reading_head for c in served.listener.connections))
    idle = await served.connect()
    stopping = asyncio.create_task(served.stop())
    assert await idle.closed()
    assert (await client.ask(GET[20:]))["Connection"] == "close"
    await client.close()
    await stopping


async def test_pipelined_requests_that_have_come_are_answered(served: Served, upstream: Upstream):
    client, peer = await begun(served, upstream)
    client.send(GET + GET)
    (connection,) = served.listener.connections
    await eventually(lambda: len(connection._buffer) == 2 * len(GET))
    stopping = asyncio.create_task(served.stop())
    await served.has_closed()
    peer.send(OK)
    assert "Connection" not in await client.response()
    for last in (False, True):
        await peer.request()
        peer.send(OK)
        assert ("Connection" in await client.response()) == last
    assert await client.closed()
    await client.close()
    await stopping


async def test_who_asks_on_after_the_last_answer_still_gets_that_whole(
    served: Served, upstream: Upstream
):
    """Closing with bytes unread would reset the connection, and the answer with it."""
    client, peer = await begun(served, upstream)
    stopping = asyncio.create_task(served.stop())
    await served.has_closed()
    peer.send(OK)
    await client.reader.readuntil(b"ok")
    client.send(GET)
    assert await client.closed()
    await client.close()
    await stopping


async def test_who_waits_in_the_accept_queue_is_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    late: list[socket.socket] = []

    def at_the_last_moment(listening: socket.socket) -> list[socket.socket]:
        late.extend(socket.create_connection(("127.0.0.1", served.port)) for _ in range(3))
        return accept_waiting(listening)

    monkeypatch.setattr("gateway.listener.accept_waiting", at_the_last_moment)
    stopping = asyncio.create_task(served.stop())
    await served.has_closed()
    clients = [Client(*await asyncio.open_connection(sock=connected)) for connected in late]
    assert len(clients) == 3
    for client in clients:
        assert (await client.ask(GET))["Connection"] == "close"
        await client.close()
    await stopping


async def test_draining_does_not_wait_for_ever(
    start_served: StartServed, upstream: Upstream, caplog: pytest.LogCaptureFixture
):
    served = await start_served(drain_s=0.01)
    client, _ = await begun(served, upstream)
    with capture_logs() as logs:
        await served.stop()
    assert await client.closed()
    assert not served.listener.connections
    assert [(log["event"], log["number"]) for log in logs] == [("connections are cut", 1)]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_tunnel_lives_until_it_is_cut(served: Served, upstream: Upstream):
    upstream.scripted = True
    client = await served.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
    peer = await upstream.accept()
    await peer.until(b"\r\n\r\n")
    switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n"
    peer.send(switching)
    await client.reader.readuntil(b"\r\n\r\n")
    stopping = asyncio.create_task(served.stop())
    await served.has_closed()
    client.send(b"still there?")
    assert await peer.until(b"?")
    peer.send(b"yes")
    assert await client.reader.readexactly(3) == b"yes"
    served.listener.hurry()
    assert await client.closed()
    assert await peer.closed()
    await stopping


async def test_a_stop_in_a_hurry_waits_for_nobody(served: Served, upstream: Upstream):
    client, _ = await begun(served, upstream)
    stopping = asyncio.create_task(served.stop())
    await served.has_closed()
    served.listener.hurry()
    assert await client.closed()
    await stopping


async def test_a_listener_of_an_app():
    async def hello(_request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    opened = open_socket("status", "127.0.0.1", 0, backlog=8)
    listener = Listener.of_app(
        "status",
        opened,
        Starlette(routes=[Route("/hello", hello)]),
        AppLimits(8192, 5, 10),
        drain_s=1,
        backlog=8,
    )
    address = address_of(opened)
    await listener.start()
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://{address}/hello")
        assert response.text == "hello"
        assert "uvicorn" not in str(response.headers)
    await listener.stop()

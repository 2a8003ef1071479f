"""Sockets and listeners: clear words when an address cannot be had, and nothing lost on stop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.app_connection import AppLimits
from gateway.listener import Listener, ListenError, address_of, open_socket
from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.downstream import DownstreamConnection
from gateway.settings import NodeSettings
from gateway.snapshot import SnapshotApplier
from tests.proxy.gateway import fresh_proxy, one_route
from tests.proxy.peers import OK, Client, Upstream, UpstreamPeer
from tests.snapshot.rows import full_load

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


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
    """A proxy behind a listener of its own."""

    def __init__(self, drain_s: float) -> None:
        self.proxy = fresh_proxy(NodeSettings(), TrafficMetrics())
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
        self.proxy.draining = True
        await self.listener.stop()

    async def close(self) -> None:
        for client in self.clients:
            await client.reset()
        await self.stop()
        await self.proxy.stop()


@pytest.fixture
async def served(upstream: Upstream) -> AsyncIterator[Served]:
    served = Served(drain_s=5)
    await served.start(upstream)
    yield served
    await served.close()


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
    peer = await upstream.accept()
    await peer.until(b"xyz")
    idle = await served.connect()
    stopping = asyncio.create_task(served.stop())
    assert await idle.closed()
    client.send(b"uvw")
    await peer.until(b"uvw")
    peer.send(OK)
    assert (await client.response())["Connection"] == "close"
    await stopping


async def test_draining_does_not_wait_for_ever(upstream: Upstream):
    served = Served(drain_s=0.01)
    await served.start(upstream)
    await begun(served, upstream)
    await served.stop()
    assert served.task.done()
    await served.close()


async def test_a_listener_of_an_app():
    async def hello(_request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    opened = open_socket("status", "127.0.0.1", 0, backlog=8)
    listener = Listener.of_app(
        "status",
        opened,
        Starlette(routes=[Route("/hello", hello)]),
        AppLimits(8192, 5),
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

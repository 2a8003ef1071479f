"""Connections of the admin and status listeners: so many, and none that is held for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.admin.tls import admin_tls_context
from gateway.app_connection import AppLimits
from gateway.listener import Listener, open_socket
from gateway.settings import NodeSettings
from tests.proxy.peers import Client, ClientTls, eventually

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LONG_S = 60.0
"""What no test here waits for."""
SHORT_S = 0.05


class Served:
    """An app behind a listener: ``/`` answers, ``/hold`` waits for `released`, ``/flood`` sends
    without end, ``/body`` takes a body for a short time.
    """

    def __init__(self, *, connections: int, wait_s: float, tls: bool) -> None:
        self.released = asyncio.Event()
        self.held = 0
        opened = open_socket("admin", "127.0.0.1", 0, backlog=128)
        self.port: int = opened.getsockname()[1]
        self.listener = Listener.of_app(
            "admin",
            opened,
            Starlette(
                routes=[
                    Route("/", self._hello),
                    Route("/hold", self._hold),
                    Route("/flood", self._flood),
                    Route("/body", self._body, methods=["POST"]),
                ]
            ),
            AppLimits(8192, wait_s, connections),
            drain_s=1,
            backlog=128,
            tls=admin_tls_context(NodeSettings()) if tls else None,
        )
        self.tls = ClientTls() if tls else None
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        return await self._connected(tls=self.tls)

    async def connect_plainly(self, receive_buffer: int | None = None) -> Client:
        """A client that makes no handshake."""
        return await self._connected(receive_buffer=receive_buffer)

    async def _connected(self, **options: Any) -> Client:
        client = await Client.connect(self.port, **options)
        self.clients.append(client)
        return client

    async def hold(self) -> Client:
        """A client whose request is under way."""
        client, before = await self.connect(), self.held
        client.send(GET.replace(b"/ ", b"/hold "))
        await eventually(lambda: self.held > before)
        return client

    async def connections(self, number: int) -> None:
        """Wait until there are so many."""
        await eventually(lambda: len(self.listener.connections) == number)

    async def _hello(self, _request: Request) -> Response:
        return PlainTextResponse("hello")

    async def _hold(self, _request: Request) -> Response:
        self.held += 1
        await self.released.wait()
        return PlainTextResponse("held")

    async def _flood(self, _request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)  # to whom has gone, uvicorn sends without waiting

        return StreamingResponse(chunks())

    async def _body(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(SHORT_S):
                await request.body()
        except TimeoutError:
            return PlainTextResponse("too slow", 503)
        return PlainTextResponse("thanks")


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts an app: ``await serve(connections=2)``."""
    running: list[Served] = []

    async def start(connections: int = 10, wait_s: float = LONG_S, *, tls: bool = False) -> Served:
        served = Served(connections=connections, wait_s=wait_s, tls=tls)
        await served.listener.start()
        running.append(served)
        return served

    yield start
    for served in running:
        served.released.set()
        for client in served.clients:
            await client.reset()
        await served.listener.stop()


async def is_served(client: Client) -> bool:
    return (await client.ask(GET)).body == b"hello"


@pytest.mark.parametrize("tls", [False, True])
async def test_who_has_waited_for_longest_makes_room(serve: Serve, *, tls: bool) -> None:
    served = await serve(connections=3, tls=tls)
    first, second, third = [await served.connect() for _ in range(3)]
    await served.connections(3)
    assert await is_served(first)  # it waits anew: now the second has waited for longest
    fourth = await served.connect()
    assert await second.closed()
    for client in (first, third, fourth):
        assert await is_served(client)


@pytest.mark.parametrize("tls", [False, True])
async def test_while_all_are_busy_a_new_one_is_closed(serve: Serve, *, tls: bool) -> None:
    served = await serve(connections=2, tls=tls)
    busy = [await served.hold() for _ in range(2)]
    with pytest.raises(ConnectionError) if tls else pytest.raises(AssertionError, match="closed"):
        assert not await (await served.connect()).closed(), "closed"
    served.released.set()
    for client in busy:
        assert (await client.response()).body == b"held"
    assert await is_served(await served.connect())


async def test_a_burst_of_connections_does_not_get_past_the_limit(serve: Serve) -> None:
    served = await serve(connections=5)
    clients = await asyncio.gather(*(served.connect() for _ in range(50)))
    async with asyncio.TaskGroup() as group:
        ends = [group.create_task(client.closed()) for client in clients]
        await eventually(lambda: sum(end.done() for end in ends) == 45)
        assert len(served.listener.connections) == 5
        for end in ends:
            end.cancel()


async def test_who_makes_no_handshake_counts_too(serve: Serve) -> None:
    served = await serve(connections=2, tls=True)
    silent = [await served.connect_plainly() for _ in range(2)]
    await served.connections(2)
    assert await is_served(await served.connect())
    assert await silent[0].closed()
    await silent[1].reset()
    await served.connections(1)


async def test_a_handshake_has_a_deadline(serve: Serve) -> None:
    served = await serve(wait_s=SHORT_S, tls=True)
    silent = await served.connect_plainly()
    assert await silent.closed()
    await served.connections(0)


async def test_what_is_no_tls_is_closed(serve: Serve) -> None:
    served = await serve(tls=True)
    client = await served.connect_plainly()
    client.send(GET)
    await client.rest()
    await served.connections(0)


async def test_a_stop_ends_handshakes(serve: Serve) -> None:
    served = await serve(tls=True)
    silent = await served.connect_plainly()
    await served.connections(1)
    await served.listener.stop()
    assert await silent.closed()


async def test_who_does_not_take_its_answer_is_closed(serve: Serve) -> None:
    served = await serve(wait_s=SHORT_S)
    client = await served.connect_plainly(receive_buffer=4096)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.send(GET.replace(b"/ ", b"/flood "))
    await served.connections(1)
    client.send(GET)  # that there is another request buys no time
    await served.connections(0)


async def test_a_body_that_trickles_holds_a_connection_only_so_long(serve: Serve) -> None:
    served = await serve(wait_s=SHORT_S)
    client = await served.connect()
    client.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    while not client.writer.is_closing():
        client.send(b"x")
        await asyncio.sleep(0.001)

"""WebSockets through the proxy, with a real library at both ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.http11 import Request, Response

from gateway.proxy.key_pairs import load_pair

from .certificates import Authority, any_server
from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import DEADLINE_S, eventually

Handler = Callable[[ServerConnection], Awaitable[None]]
Connect = Callable[..., AbstractAsyncContextManager[ClientConnection]]


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    async with asyncio.timeout(2 * DEADLINE_S):
        yield


@asynccontextmanager
async def proxied(
    start_gateway: StartGateway, handler: Handler, **of_server: Any
) -> AsyncIterator[tuple[Gateway, Connect]]:
    """A gateway before a WebSocket server, and what connects to it."""
    async with serve(handler, "127.0.0.1", 0, **of_server) as server:
        port: int = next(iter(server.sockets)).getsockname()[1]
        protocol = "https" if "ssl" in of_server else "http"
        gateway = await start_gateway(one_route(port, to={"protocol": protocol}), proxy_tls_port=0)

        def connected(**of_client: Any) -> AbstractAsyncContextManager[ClientConnection]:
            secured = "ssl" in of_client
            uri = (
                f"wss://127.0.0.1:{gateway.tls_port}"
                if secured
                else f"ws://127.0.0.1:{gateway.port}"
            )
            return connect(uri, proxy=None, **of_client)

        yield gateway, connected


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@pytest.mark.both_loops
@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize(
    "message", ["", "a", "zwölf", b"\x00\xff", "text " * 20_000, bytes(5_000_000)], ids=len
)
async def test_messages_of_all_sizes_come_back(
    start_gateway: StartGateway, compression: str | None, message: str | bytes
):
    limits = {"max_size": 10_000_000, "compression": compression}
    async with (
        proxied(start_gateway, echo, **limits) as (_, connected),
        connected(**limits) as socket,
    ):
        for _ in range(3):
            await socket.send(message)
            assert await socket.recv() == message


@pytest.mark.both_loops
@pytest.mark.parametrize("upstream", ["ws", "wss"])
@pytest.mark.parametrize("client", ["ws", "wss"])
async def test_either_side_may_be_secured(start_gateway: StartGateway, client: str, upstream: str):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, Authority().issue("127.0.0.1"))
    of_server = {"ssl": context} if upstream == "wss" else {}
    of_client = {"ssl": any_server()} if client == "wss" else {}
    limits = {"max_size": 2_000_000, "compression": None}
    async with proxied(start_gateway, echo, **limits, **of_server) as (gateway, connected):
        for _ in range(3):
            async with connected(**limits, **of_client) as socket:
                for message in ("short", bytes(1_000_000), "short"):
                    await socket.send(message)
                    assert await socket.recv() == message
        await eventually(lambda: not gateway.connections)
        assert gateway.codes() == {("all", 101, True): 3}


async def test_a_fragmented_message_arrives_in_its_fragments(start_gateway: StartGateway):
    async def fragments(socket: ServerConnection) -> None:
        async for fragment in socket.recv_streaming():
            await socket.send(fragment)

    async with (
        proxied(start_gateway, fragments, compression=None) as (_, connected),
        connected(compression=None) as socket,
    ):
        await socket.send(["one", "two", "three"])
        assert [await socket.recv() for _ in range(3)] == ["one", "two", "three"]


async def test_pings_are_answered_by_the_other_end(start_gateway: StartGateway):
    answered = asyncio.Event()

    async def ping_too(socket: ServerConnection) -> None:
        await (await socket.ping(b"from the server"))
        answered.set()
        await echo(socket)

    async with (
        proxied(start_gateway, ping_too, ping_interval=None) as (_, connected),
        connected(ping_interval=None) as socket,
    ):
        await (await socket.ping(b"from the client"))
        await answered.wait()


@pytest.mark.parametrize("code", [1000, 1001, 1008, 4321])
async def test_the_server_s_close_code_reaches_the_client(start_gateway: StartGateway, code: int):
    async def close(socket: ServerConnection) -> None:
        await socket.close(code, "because")

    async with proxied(start_gateway, close) as (gateway, connected):
        async with connected() as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "because")
        await eventually(lambda: not gateway.connections)


async def test_the_client_s_close_code_reaches_the_server(start_gateway: StartGateway):
    closes: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

    async def hear(socket: ServerConnection) -> None:
        await socket.wait_closed()
        closes.put_nowait((socket.close_code, socket.close_reason))

    async with proxied(start_gateway, hear) as (_, connected):
        async with connected() as socket:
            await socket.close(4321, "because")
        assert await closes.get() == (4321, "because")


async def test_a_server_that_dies_is_missed_at_once(start_gateway: StartGateway):
    async def die(socket: ServerConnection) -> None:
        await socket.recv()
        socket.transport.abort()

    async with proxied(start_gateway, die) as (_, connected), connected() as socket:
        await socket.send("die")
        with pytest.raises(ConnectionClosedError):
            await socket.recv()


async def test_client_and_server_agree_on_a_subprotocol(start_gateway: StartGateway):
    async with (
        proxied(start_gateway, echo, subprotocols=["v2", "v1"]) as (_, connected),
        connected(subprotocols=["v1", "v0"]) as socket,
    ):
        assert socket.subprotocol == "v1"


async def test_a_server_may_refuse(start_gateway: StartGateway):
    def refuse(socket: ServerConnection, _: Request) -> Response:
        return socket.respond(HTTPStatus.UNAUTHORIZED, "who are you?\n")

    async with proxied(start_gateway, echo, process_request=refuse) as (_, connected):
        with pytest.raises(InvalidStatus) as refused:
            async with connected():
                raise AssertionError("must not be let in")
        response = refused.value.response
        assert (response.status_code, response.body) == (401, b"who are you?\n")


async def test_two_hundred_sockets_at_once_do_not_mix(start_gateway: StartGateway):
    async def talk(connected: Connect, number: int) -> None:
        async with connected(compression=None) as socket:
            for turn in range(5):
                await socket.send(f"{number}: {turn}")
                assert await socket.recv() == f"{number}: {turn}"

    async with proxied(start_gateway, echo, compression=None) as (gateway, connected):
        await asyncio.gather(*(talk(connected, number) for number in range(200)))
        await eventually(lambda: not gateway.connections)
        assert gateway.codes() == {("all", 101, True): 200}

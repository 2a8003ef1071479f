"""What the fault proxy does to connections, byte for byte and with a real PostgreSQL behind it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lab.fault_proxy import FaultProxy, NotificationFilter
from gateway.store.embedded import EmbeddedPostgres

MESSAGES = st.lists(st.tuples(st.sampled_from([b"A", b"D", b"Z"]), st.binary(max_size=40)))


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", 4 + len(body)) + body


@asynccontextmanager
async def listener_that_echoes() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def cut_up(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@settings(deadline=None)
@given(messages=MESSAGES, sizes=st.lists(st.integers(1, 20)))
def test_notifications_are_left_out_however_the_bytes_are_cut(
    messages: list[tuple[bytes, bytes]], sizes: list[int]
) -> None:
    sent = b"".join(message(*each) for each in messages)
    kept = NotificationFilter(lambda: True)
    passed = b"".join(kept(piece) for piece in cut_up(sent, sizes))
    assert passed == b"".join(message(*each) for each in messages if each[0] != b"A")


@settings(deadline=None)
@given(messages=MESSAGES, sizes=st.lists(st.integers(1, 20)))
def test_while_nothing_is_dropped_every_byte_passes(
    messages: list[tuple[bytes, bytes]], sizes: list[int]
) -> None:
    sent = b"".join(message(*each) for each in messages)
    kept = NotificationFilter(lambda: False)
    assert b"".join(kept(piece) for piece in cut_up(sent, sizes)) == sent


async def test_only_notifications_are_lost_and_only_while_they_are_dropped(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with (
        FaultProxy.before(postgres) as proxy,
        await psycopg.AsyncConnection.connect(proxy.url(database_url), autocommit=True) as listener,
    ):
        await listener.execute("LISTEN heard")

        async def hears() -> list[str]:
            """Return what was announced before this was called."""
            await listener.execute("NOTIFY heard, 'the last one'")
            heard = []
            async for notification in listener.notifies():
                heard.append(notification.payload)
                if heard[-1] == "the last one":
                    break
            return heard[:-1]

        await listener.execute("NOTIFY heard, 'first'")
        assert await hears() == ["first"]
        proxy.drops_notifications = True
        await listener.execute("NOTIFY heard, 'second'")
        assert await (await listener.execute("SELECT 1")).fetchone() == (1,)
        proxy.heal()
        await listener.execute("NOTIFY heard, 'third'")
        assert await hears() == ["third"]


async def test_a_reset_ends_what_is_open_and_lets_new_connections_pass(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with FaultProxy.before(postgres) as proxy:
        async with await psycopg.AsyncConnection.connect(proxy.url(database_url)) as connection:
            proxy.reset()
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")
        async with await psycopg.AsyncConnection.connect(proxy.url(database_url)) as connection:
            await connection.execute("SELECT 1")


async def test_a_reset_is_one() -> None:
    async with (
        listener_that_echoes() as port,
        FaultProxy.before_address("127.0.0.1", port) as proxy,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()


async def test_a_connection_that_its_client_has_left_can_be_reset() -> None:
    async with (
        listener_that_echoes() as port,
        FaultProxy.before_address("127.0.0.1", port) as proxy,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.stall()
        writer.write(b"hello")
        await proxy.has_stalled()
        reset_on_close = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, reset_on_close)
        writer.transport.abort()
        await asyncio.sleep(0.05)  # nothing tells when the proxy has noticed
        proxy.reset()


async def test_what_cannot_be_reached_is_closed_at_once() -> None:
    async with listener_that_echoes() as port:
        pass
    async with FaultProxy.before_address("127.0.0.1", port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await reader.read() == b""
        writer.close()

"""One connection with precise times, before servers of all manners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.lab.staleness.wire import Connection, Origin, WireError

SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def server(*replies: bytes) -> AsyncIterator[tuple[Origin, list[bytes]]]:
    """Answer each connection's n-th request by the n-th reply; beyond them, close."""
    heads: list[bytes] = []
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        for reply in replies:
            try:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            writer.write(reply)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield Origin(*listening.sockets[0].getsockname()), heads
    await asyncio.gather(*serving)


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (SMALL, 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 404 N\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 404, b"no"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + SMALL, 200, b"ok"),
    ],
)
async def test_every_framing_is_understood(reply: bytes, status: int, body: bytes) -> None:
    async with server(reply, SMALL) as (origin, heads):
        with Connection(origin) as connection:
            answer = await connection.request("GET", "/a?b=c")
            assert (answer.status, answer.body) == (status, body)
            assert answer.sent_s <= answer.received_s
            assert (await connection.request("GET", "/")).body == b"ok"
    assert heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    async with server(SMALL) as (origin, heads):
        with Connection(origin) as connection:
            for _ in range(3):
                assert (await connection.request("GET", "/")).status == 200
    assert len(heads) == 3


async def test_a_server_that_says_close_is_taken_at_its_word() -> None:
    reply = SMALL.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with server(reply, b"never asked for") as (origin, _):
        with Connection(origin) as connection:
            for _ in range(2):
                assert (await connection.request("GET", "/")).body == b"ok"


async def test_an_answer_that_nobody_waits_for_any_more_is_not_the_next_ones() -> None:
    may_answer = asyncio.Event()
    held_back = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        if path == b"/slow":
            held_back.set()
            await may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + path)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        with Connection(Origin(*listening.sockets[0].getsockname())) as connection:
            request = asyncio.create_task(connection.request("GET", "/slow"))
            await held_back.wait()
            request.cancel()
            await asyncio.wait({request})
            may_answer.set()
            assert (await connection.request("GET", "/next")).body == b"/next"


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Len", b"SMTP\r\n\r\n"])
async def test_no_answer_is_an_error_that_says_from_where(reply: bytes) -> None:
    async with server(reply) as (origin, _):
        with Connection(origin) as connection, pytest.raises(WireError, match=str(origin)):
            await connection.request("GET", "/")


async def test_nobody_there_is_an_error_too() -> None:
    async with server() as (origin, _):
        pass
    with Connection(origin) as connection, pytest.raises(WireError, match=str(origin)):
        await connection.request("GET", "/")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a.test:8000", Origin("a.test", 8000)),
        ("http://a.test/", Origin("a.test", 80)),
        ("127.0.0.1:1234", Origin("127.0.0.1", 1234)),
        ("http://[::1]:8000", Origin("::1", 8000)),
    ],
)
def test_an_origin_is_taken_from_a_url(url: str, origin: Origin) -> None:
    assert Origin.of(url) == origin


@pytest.mark.parametrize("url", ["https://a.test", "http://a.test/path", "", "http://a.test:x"])
def test_an_origin_is_plain_http_and_nothing_more(url: str) -> None:
    with pytest.raises(ValueError, match=r"a\.test|form|[Pp]ort"):
        Origin.of(url)

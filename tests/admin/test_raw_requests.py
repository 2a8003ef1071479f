"""Requests that no client library sends, on a real listener: refused, or read in one way only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from structlog.testing import capture_logs

from gateway.admin.app import create_app
from gateway.app_connection import AppLimits
from gateway.listener import Listener, open_socket
from gateway.store.store import Store

from .conftest import StandingNode

DEADLINE_S = 30
LIMITS = AppLimits(head_bytes=16_384, wait_s=DEADLINE_S, connections=10)
MEBIBYTE = 1_048_576

Port = int


@pytest.fixture
async def port(store: Store, node: StandingNode) -> AsyncIterator[Port]:
    listening = open_socket("admin", "127.0.0.1", 0, backlog=8)
    app = create_app(store, node)
    listener = Listener.of_app("admin", listening, app, LIMITS, drain_s=1, backlog=8)
    with capture_logs() as log:
        await listener.start()
        yield listening.getsockname()[1]
        await listener.stop()
    assert [line for line in log if "exc_info" in line] == []


def head(*lines: str, method: str = "POST", path: str = "/services") -> bytes:
    first = (f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close")
    return "\r\n".join((*first, *lines, "", "")).encode()


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


async def talk(port: Port, *pieces: bytes, ends: bool = False) -> bytes:
    """Send the pieces, read until the server closes; return what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if ends:
                writer.write_eof()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def statuses(said: bytes) -> list[int]:
    lines = said.split(b"HTTP/1.1 ")
    return [int(line[:3]) for line in lines[1:]]


async def names(store: Store) -> set[str]:
    async with store.read() as transaction:
        return {row["name"] for row in (await transaction.page("services", size=100)).rows}


JSON = "Content-Type: application/json"
BODY = b'{"name":"a","host":"a"}'
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "pieces",
    [
        (head(JSON, LENGTH) + BODY,),
        (head(JSON, LENGTH), *(bytes([byte]) for byte in BODY)),
        (head(JSON, CHUNKED) + chunked(BODY),),
        (head(JSON, CHUNKED) + chunked(*(bytes([byte]) for byte in BODY)),),
        (head(JSON, LENGTH, "Expect: 100-continue"), BODY),
    ],
)
async def test_a_body_is_read_however_it_comes(port: Port, store: Store, pieces: Iterable[bytes]):
    assert statuses(await talk(port, *pieces))[-1] == 201
    assert await names(store) == {"a"}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head(JSON, LENGTH, CHUNKED) + chunked(BODY), 400),
        (head(JSON, LENGTH, "Content-Length: 5") + BODY, 400),
        (head(JSON, "Content-Length: -1") + BODY, 400),
        (head(JSON, "Content-Length: 1e1") + BODY, 400),
        (head(JSON, f"Content-Length: {10**30}") + BODY, 400),
        (head(JSON, "Transfer-Encoding: gzip, chunked") + chunked(BODY), 415),
        (head(JSON, CHUNKED) + b"x\r\n" + BODY, 400),
        (head(JSON, CHUNKED) + b"fffffffffffffffff\r\n" + BODY, 400),
        (head(JSON, "Content-Type: text/plain", LENGTH) + BODY, 400),
        (head(JSON, "Content-Length: 5") + BODY, 400),
        (head(JSON, "Content-Encoding: br", LENGTH) + BODY, 415),
        (head("Content-Type : application/json", LENGTH) + BODY, 400),
        (head(JSON, LENGTH, path="/services\x00") + BODY, 400),
        (head(JSON, LENGTH, path="/services/%ff", method="PUT") + BODY, 400),
        (head(JSON, f"Content-Length: {10**18}"), 413),
        (head(JSON, f"Content-Length: {10**18}", "Expect: 100-continue"), 413),
        (head(JSON, CHUNKED) + chunked(b" " * MEBIBYTE, b" "), 413),
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused(
    port: Port, store: Store, request_: bytes, status: int
):
    said = await talk(port, request_)
    assert statuses(said)[0] == status
    assert b"Traceback" not in said
    assert await names(store) == set()


@pytest.mark.parametrize(
    "request_",
    [
        head(JSON, LENGTH) + BODY[:-1],
        head(JSON, f"Content-Length: {len(BODY) + 1}") + BODY,
        head(JSON, CHUNKED) + b"%x\r\n" % len(BODY) + BODY + b"\r\n",
        head(JSON, LENGTH)[:-2],
    ],
)
async def test_a_body_that_breaks_off_is_not_written(port: Port, store: Store, request_: bytes):
    assert not any(
        200 <= status < 300 for status in statuses(await talk(port, request_, ends=True))
    )
    assert await names(store) == set()


async def test_an_endless_body_is_answered_at_once(port: Port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(JSON, CHUNKED))
    async with asyncio.timeout(DEADLINE_S):
        answer = asyncio.create_task(reader.readline())
        while not answer.done():
            writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            await asyncio.gather(writer.drain(), asyncio.sleep(0), return_exceptions=True)
        assert await answer == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    writer.close()


async def test_pipelined_writes_are_done_in_order(port: Port, store: Store):
    put = head(JSON, "Content-Length: 12", method="PUT", path="/services/a")
    kept = put.replace(b"Connection: close\r\n", b"")
    said = await talk(port, kept + b'{"host":"a"}' + kept + b'{"host":"b"}' + put + b'{"host":"c"}')
    assert statuses(said) == [200, 200, 200]
    async with store.read() as transaction:
        (row,) = (await transaction.page("services", size=2)).rows
    assert row["host"] == "c"

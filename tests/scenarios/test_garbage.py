"""Rubbish on every port of a node: it is refused, it costs no memory to speak of, work goes on."""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import StartNodes
from .nodes import DEADLINE_S, NodeProcess, until
from .upstream import Upstream

MEGABYTE = 1_000_000
MEMORY_LIMIT_BYTES = 40 * MEGABYTE
"""How much more memory than before a node may have; most of it is the interpreter's own slack."""

Talk = Callable[..., Awaitable[None]]

LISTENERS = ("proxy", "admin", "status")
GOOD_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


def random_bytes() -> Iterator[bytes]:
    dice = random.Random(1)
    for _ in range(20):
        yield dice.randbytes(dice.randrange(1, 5000))


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a.test")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


RUBBISH = [
    *random_bytes(),
    client_hello(),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00" * 100,
    b"\r\n" * 1000,
    b"\n" * 1000,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%ff%00%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET //a.test:99999/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    GOOD_HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    GOOD_HEAD + b"Content-Length: -1\r\n\r\n",
    GOOD_HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
    GOOD_HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    GOOD_HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    GOOD_HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x00\x01\x02",
    GOOD_HEAD + b": no name\r\n\r\n",
    GOOD_HEAD + b"folded: a\r\n b\r\n\r\n",
    b"POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n{",
]


def endless_header_lines() -> Iterator[bytes]:
    yield GOOD_HEAD
    while True:
        yield b"X-Endless: " + b"x" * 1000 + b"\r\n"


def endless_header_value() -> Iterator[bytes]:
    yield GOOD_HEAD + b"X-Endless: "
    while True:
        yield b"x" * 1000


def endless_request_line() -> Iterator[bytes]:
    yield b"GET /"
    while True:
        yield b"x" * 1000


def endless_chunk_extension() -> Iterator[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;"
    while True:
        yield b"x" * 1000


def endless_trailers() -> Iterator[bytes]:
    yield b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    while True:
        yield b"X-Endless: " + b"x" * 1000 + b"\r\n"


def endless_json() -> Iterator[bytes]:
    yield b"POST /services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    yield b"Transfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"3e8\r\n" + b"[" * 1000 + b"\r\n"


ENDLESS = [
    endless_header_lines,
    endless_header_value,
    endless_request_line,
    endless_chunk_extension,
    endless_trailers,
    endless_json,
]


@pytest.fixture
async def node(start_nodes: StartNodes, upstream: Upstream) -> NodeProcess:
    """A node with short deadlines that serves / from the upstream."""
    (node,) = await start_nodes(1, header_timeout_s=0.5, body_timeout_s=0.5)
    await node.write("PUT", "/services/orders", {"url": upstream.url})
    route = {"paths": ["/orders"]}
    await node.reaches(await node.write("PUT", "/services/orders/routes/orders", route))
    return node


async def check_that_it_is_well(node: NodeProcess) -> None:
    """Nothing is left of the rubbish, and every listener does its work."""
    assert (await node.proxy("/orders/a")).text == "/a"
    await node.reaches(await node.write("PATCH", "/services/orders", {"tags": ["well"]}))
    assert await node.ready() == 200

    async def only_our_own_connection_is_left() -> bool:
        return bool((await node.report())["server"]["connections_active"] <= 1)

    await until(only_our_own_connection_is_left)


async def on_all_listeners(node: NodeProcess, do: Talk, *arguments: object) -> None:
    """Open a connection to each listener and do this on it, under the deadline."""

    async def on(listener: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            streams = await asyncio.open_connection("127.0.0.1", node.port(listener))
            try:
                await do(*streams, *arguments)
            finally:
                streams[1].transport.abort()

    await asyncio.gather(*map(on, LISTENERS))


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rubbish: bytes) -> None:
    writer.write(rubbish)
    with suppress(ConnectionError):
        writer.write_eof()
        answer = await reader.read()
        assert not answer or answer.startswith(b"HTTP/1.1 ")
        assert not answer.startswith(b"HTTP/1.1 500"), (rubbish, answer)


async def test_rubbish_is_refused_or_ignored(node: NodeProcess) -> None:
    for rubbish in RUBBISH:
        await on_all_listeners(node, ask, rubbish)
    await check_that_it_is_well(node)


async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter, words: bytes) -> None:
    writer.write(words)
    await writer.drain()


async def test_whoever_leaves_in_the_middle_leaves_nothing_behind(node: NodeProcess) -> None:
    request = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
    for length in range(0, len(request) + 1, 3):
        await on_all_listeners(node, leave, request[:length])
    await check_that_it_is_well(node)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the most memory so far")
async def test_what_never_ends_is_ended(node: NodeProcess) -> None:
    before = most_memory_bytes(node)
    await asyncio.gather(*(on_all_listeners(node, send_all, endless) for endless in ENDLESS))
    assert most_memory_bytes(node) - before < MEMORY_LIMIT_BYTES
    await check_that_it_is_well(node)


def most_memory_bytes(node: NodeProcess) -> int:
    """Return the most memory that the node has had so far."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def send_all(
    _: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    endless: Callable[[], Iterator[bytes]],
) -> None:
    """Send until the node has had enough."""
    with suppress(ConnectionError):
        for piece in endless():
            writer.write(piece)
            await writer.drain()


async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GOOD_HEAD)
    with suppress(ConnectionError):
        await reader.read()


async def test_clients_that_dawdle_are_shown_the_door(node: NodeProcess) -> None:
    await asyncio.gather(*(on_all_listeners(node, dawdle) for _ in range(100)))
    await check_that_it_is_well(node)

"""A change of protocol on a route with plugins: its head is a response's, what follows is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.access_log import Record
from gateway.plugins.contract import Plugin
from gateway.plugins.lines import removal
from gateway.plugins.request import Request
from gateway.plugins.response import Response
from gateway.testing import DEADLINE_S, Serving

ASKED = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
AGREED = b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Inner: 1\r\n\r\n"


class Telling(Plugin):
    """Tells the client something in each phase it can, and hears of the end."""

    name = "telling"
    priority = 10

    heard: asyncio.Queue[int]

    def access(self, request: Request) -> None:
        request.tell(b"\r\nX-Told: 1", removal(("x-told",)))

    def header_filter(self, request: Request, response: Response) -> None:
        del request
        response.remove_header("X-Inner")
        response.set_header("X-Seen", str(response.status))

    def body_filter(self, request: Request, data: bytes, ended: bool) -> bytes:
        raise AssertionError

    def log(self, request: Request, record: Record) -> None:
        del request
        self.heard.put_nowait(record.status)


class Failing(Telling):
    name = "failing"

    def header_filter(self, request: Request, response: Response) -> None:
        raise RuntimeError


@pytest.fixture
async def service_port() -> AsyncIterator[int]:
    """A service that agrees, and then says again what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(AGREED)
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def upgraded(kind: type[Telling], service_port: int) -> tuple[bytes, int]:
    """Ask for another protocol; return all that came, and what the plugin was told in the end."""
    kind.heard = asyncio.Queue()
    gateway = Serving(kind)
    gateway.target["port"] = service_port
    async with gateway, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(ASKED)
        said = await reader.readuntil(b"\r\n\r\n")
        if said.startswith(b"HTTP/1.1 101"):
            writer.write(b"hello")
            writer.write_eof()
            said += await reader.read()
        writer.close()
        await writer.wait_closed()
        return said, await kind.heard.get()


async def test_plugins_see_its_head_and_its_end(service_port: int):
    said, status = await upgraded(Telling, service_port)
    assert said.startswith(b"HTTP/1.1 101 Fine\r\n")
    assert b"\r\nX-Told: 1\r\n" in said
    assert b"\r\nX-Seen: 101\r\n" in said
    assert b"X-Inner" not in said
    assert said.endswith(b"\r\n\r\nhello")
    assert status == 101


async def test_a_plugin_that_fails_prevents_it(service_port: int):
    said, status = await upgraded(Failing, service_port)
    assert said.startswith(b"HTTP/1.1 500")
    assert status == 500

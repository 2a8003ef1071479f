"""Servers that logs are sent to: they keep what comes, and do what they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.proxy.peers import eventually

__all__ = ["Collector", "Post", "eventually", "http_collector", "tcp_collector"]


@dataclass(frozen=True)
class Post:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


@dataclass
class Collector:
    """``answers`` are the next statuses of an HTTP server, thereafter 200; ``waits`` holds them."""

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    connections: int = 0
    answers: list[int] = field(default_factory=list)
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.strip().split("\r\n")
            headers = dict(text.lower().split(": ", 1) for text in lines)
            body = await reader.readexactly(int(headers["content-length"]))
            self.posts.append(Post(line, dict(text.split(": ", 1) for text in lines), body))
            await self.waits.wait()
            status = self.answers.pop(0) if self.answers else 200
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status)

    async def keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.lines.append(await reader.readuntil(b"\n"))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def _serving(collector: Collector, serve: Serve, port: int) -> AsyncIterator[Collector]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        collector.connections += 1
        collector.writers.append(writer)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    collector.port = server.sockets[0].getsockname()[1]
    try:
        yield collector
    finally:
        server.close()
        for writer in collector.writers:
            writer.transport.abort()
        await eventually(lambda: all(w.transport.is_closing() for w in collector.writers))


@asynccontextmanager
async def http_collector(*answers: int, port: int = 0) -> AsyncIterator[Collector]:
    """An HTTP server."""
    collector = Collector(answers=list(answers))
    collector.waits.set()
    async with _serving(collector, collector.answer, port):
        yield collector


@asynccontextmanager
async def tcp_collector(port: int = 0) -> AsyncIterator[Collector]:
    """A server that reads lines."""
    collector = Collector()
    async with _serving(collector, collector.keep, port):
        yield collector

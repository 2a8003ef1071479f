"""A TCP proxy before PostgreSQL that can stall or cut what goes through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

from gateway.store.embedded import SOCKET_NAME, EmbeddedPostgres


class FaultProxy:
    """Passes bytes both ways until told otherwise; listens on a free port of 127.0.0.1."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._held_back = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refuses = False
        self._port = 0

    @classmethod
    @asynccontextmanager
    async def before(cls, postgres: EmbeddedPostgres) -> AsyncIterator[FaultProxy]:
        host = parse_qs(urlsplit(postgres.url()).query)["host"][0]
        proxy = cls(f"{host}/{SOCKET_NAME}")
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy._port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.cut()
            proxy.heal()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)

    def url(self, database_url: str) -> str:
        """Return the URL of the same database through this proxy."""
        parts = urlsplit(database_url)
        return f"postgresql://{parts.username}@127.0.0.1:{self._port}{parts.path}"

    def stall(self) -> None:
        """Hold back all bytes from now on, without closing anything."""
        self._held_back.clear()
        self._flowing.clear()

    async def has_stalled(self) -> None:
        """Wait until bytes are held back."""
        await self._held_back.wait()

    def cut(self) -> None:
        """Close all connections, and new ones at once, until healed."""
        self._refuses = True
        for writer in self._writers:
            writer.transport.abort()

    def heal(self) -> None:
        """Let bytes and new connections pass again."""
        self._refuses = False
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        if self._refuses:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket_path)
        ends = {writer, server_writer}
        self._writers |= ends
        with suppress(OSError):
            await asyncio.gather(
                self._pass(reader, server_writer), self._pass(server_reader, writer)
            )
        self._writers -= ends

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if not self._flowing.is_set():
                    self._held_back.set()
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

"""A TCP proxy that does to connections what networks do: stall them, cut them, reset them.

Before PostgreSQL it can also lose notifications and nothing else, as a connection pooler does that
takes LISTEN and forgets about it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Self
from urllib.parse import parse_qs, urlsplit

from gateway.store.embedded import SOCKET_NAME, EmbeddedPostgres

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Filter = Callable[[bytes], bytes]

HOST = "127.0.0.1"
READ_BYTES = 65_536
CONNECT_TIMEOUT_S = 5.0
POSTGRES_PORT = 5432

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultProxy:
    """Passes bytes both ways until told otherwise; listens on a free port of 127.0.0.1.

    While ``drops_notifications`` is set, a PostgreSQL server's notifications are left out.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Streams]], *, speaks_postgres: bool = False
    ) -> None:
        self.drops_notifications = False
        self.port = 0
        self._connect = connect
        self._speaks_postgres = speaks_postgres
        self._refuses = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._held_back = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def before(cls, postgres: EmbeddedPostgres) -> AbstractAsyncContextManager[Self]:
        """Stand before an embedded server; `url` is then the way to its databases."""
        return cls.before_database(postgres.url())

    @classmethod
    def before_database(cls, database_url: str) -> AbstractAsyncContextManager[Self]:
        """Stand before the server of a URL, on a Unix socket or a TCP port."""
        return cls(_way_to(database_url), speaks_postgres=True)._listening()

    @classmethod
    def before_address(cls, host: str, port: int) -> AbstractAsyncContextManager[Self]:
        """Stand before any TCP listener."""
        return cls(lambda: asyncio.open_connection(host, port))._listening()

    def url(self, database_url: str) -> str:
        """Return the URL of the same database through this proxy."""
        parts = urlsplit(database_url)
        user = parts.netloc.rpartition("@")[0]
        return f"postgresql://{user}@{HOST}:{self.port}{parts.path}"

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

    def reset(self) -> None:
        """Reset all connections, as a firewall that has forgotten them; new ones pass."""
        for writer in self._writers:
            opened: socket.socket = writer.get_extra_info("socket")
            if opened.family != socket.AF_UNIX and not writer.is_closing():
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()

    def heal(self) -> None:
        """Let bytes, notifications and new connections pass again."""
        self._refuses = False
        self.drops_notifications = False
        self._flowing.set()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            self._flowing.set()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine is always run by one
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                server_reader, server_writer = await self._connect()
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        ends = {writer, server_writer}
        self._writers |= ends
        if self._refuses:
            self.cut()
        await self._relay((reader, writer), (server_reader, server_writer))
        self._writers -= ends

    async def _relay(self, client: Streams, server: Streams) -> None:
        """Pass bytes until both ends have closed."""
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                kept = bytes if not self._speaks_postgres else await self._begin(client, server)
                await asyncio.gather(
                    self._pass(client[0], server[1], bytes),
                    self._pass(server[0], client[1], kept),
                )
        finally:
            client[1].close()
            server[1].close()

    async def _begin(self, client: Streams, server: Streams) -> Filter:
        """Pass start-up packets up to the one that begins the session.

        The questions before that for TLS or GSSAPI are answered by a single byte without the head
        that all later messages have. Return what to do with the server's bytes from now on.
        """
        while True:
            packet = await client[0].readexactly(_PACKET_HEAD.size)
            await self._write(server[1], packet)
            _, code = _PACKET_HEAD.unpack(packet)
            if code not in _NEGOTIATIONS:
                return NotificationFilter(lambda: self.drops_notifications)
            answer = await server[0].readexactly(1)
            await self._write(client[1], answer)
            if answer != _REFUSED:
                return bytes  # what follows is under TLS

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        kept: Filter,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._write(writer, kept(data))
        writer.close()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self._flowing.is_set():
            self._held_back.set()
        await self._flowing.wait()
        writer.write(data)
        await writer.drain()


_PACKET_HEAD = struct.Struct(">II")
_NEGOTIATIONS = frozenset({80_877_103, 80_877_104})
"""Codes of the start-up packets that ask for TLS and for GSSAPI."""

_REFUSED = b"N"


class NotificationFilter:
    """Takes NotificationResponse messages out of what a server sends, while ``drops`` says so.

    Only a message's head is ever held back.
    """

    _HEAD = struct.Struct(">cI")
    _NOTIFICATION = b"A"

    def __init__(self, drops: Callable[[], bool]) -> None:
        self._drops = drops
        self._held_back = b""
        self._left = 0
        self._is_kept = True

    def __call__(self, data: bytes) -> bytes:
        """Take bytes as they come; return those to pass on."""
        data, self._held_back = self._held_back + data, b""
        kept: list[bytes] = []
        at = 0
        while at < len(data):
            if not self._left and not self._begin(data, at):
                self._held_back = data[at:]
                break
            part = data[at : at + self._left]
            self._left -= len(part)
            at += len(part)
            if self._is_kept:
                kept.append(part)
        return b"".join(kept)

    def _begin(self, data: bytes, at: int) -> bool:
        """Read a message's head; return whether it is there as a whole."""
        if len(data) - at < self._HEAD.size:
            return False
        kind, length = self._HEAD.unpack_from(data, at)
        self._left = 1 + length
        self._is_kept = kind != self._NOTIFICATION or not self._drops()
        return True


def _way_to(database_url: str) -> Callable[[], Awaitable[Streams]]:
    parts = urlsplit(database_url)
    host = parts.hostname or parse_qs(parts.query)["host"][0]
    if host.startswith("/"):
        return lambda: asyncio.open_unix_connection(f"{host}/{SOCKET_NAME}")
    return lambda: asyncio.open_connection(host, parts.port or POSTGRES_PORT)

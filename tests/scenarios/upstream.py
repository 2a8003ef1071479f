"""What the nodes of a scenario proxy to."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import suppress

_CONTENT_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)\r\n", re.IGNORECASE)


class Upstream:
    """Answers each request with the path it was asked for, on a free port.

    While ``may_answer`` is cleared, answers are held back; ``waiting`` counts the requests that
    wait for theirs. ``requests`` counts them by path, ``last_head`` is the latest as it came.
    """

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.waiting = 0
        self.requests: Counter[str] = Counter()
        self.last_head = b""
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._answer(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = self.last_head = await reader.readuntil(b"\r\n\r\n")
        if found := _CONTENT_LENGTH.search(head):
            await reader.readexactly(int(found[1]))
        path = head.split(b" ")[1]
        self.requests[path.decode()] += 1
        self.waiting += 1
        await self.may_answer.wait()
        self.waiting -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))
        await writer.drain()

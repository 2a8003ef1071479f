"""What the routes of a run lead to: a small server that shows what of a request reached it."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Self

from gateway.lab.faults.registers import echo

HOST = "127.0.0.1"

_REQUEST = re.compile(r"(?i)GET (?P<path>\S+) HTTP/1\.1\r\n(?:.*\r\n)*?Host: *(?P<host>\S*)\r\n")


class ShowingUpstream:
    """Answers GET requests with their path and Host header, on kept-alive connections."""

    def __init__(self) -> None:
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine is always run by one
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    writer.write(_answer(head))
                    await writer.drain()
        finally:
            writer.close()


def _answer(head: str) -> bytes:
    request = _REQUEST.match(head)
    body = (echo(request["path"], request["host"]) if request else head).encode("latin-1")
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

"""Clients that forgive nothing: each request must be answered, rightly and at the first try."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

from .nodes import DEADLINE_S, until

PAUSES_S = (0.005, 0.05, 0.5)
"""Between two requests: who pauses long is idle whenever a node stops."""
_BODY = b"x" * 1000


class StrictClients:
    """Some clients keep their connections as long as they may, others take a new one each time.

    What fails ends the block with its error. ``answered`` are the paths of the requests so far.
    """

    def __init__(self, port: int, prefix: str) -> None:
        self.answered: list[str] = []
        self._port = port
        self._prefix = prefix
        self._numbers: Iterator[int] = count()
        self._has_ended = False

    @classmethod
    @asynccontextmanager
    async def to(
        cls, port: int, prefix: str, *, keeping: int, renewing: int
    ) -> AsyncIterator[StrictClients]:
        """Keep asking for ``<prefix>/<number>`` inside the block, each number once."""
        clients = cls(port, prefix)
        async with asyncio.TaskGroup() as group:
            for number in range(keeping + renewing):
                pause_s = PAUSES_S[number % len(PAUSES_S)]
                asking = clients._ask_on(pause_s, keeps=number < keeping)
                group.create_task(asking, name=f"strict-client-{number}")
            yield clients
            clients._has_ended = True

    async def go_on(self, answers: int = 100) -> None:
        """Wait for so many further answers."""
        goal = len(self.answered) + answers

        async def is_reached() -> bool:
            return len(self.answered) >= goal

        await until(is_reached)

    async def _ask_on(self, pause_s: float, *, keeps: bool) -> None:
        while not self._has_ended:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            may_stay = True
            while may_stay and not self._has_ended:
                may_stay = await self._ask(reader, writer) and keeps
                await asyncio.sleep(pause_s)
            writer.close()
            await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one request and check its answer; return whether there may be another."""
        path = f"/{next(self._numbers)}"
        head = f"POST {self._prefix}{path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(_BODY)}"
        writer.write(f"{head}\r\n\r\n".encode() + _BODY)
        async with asyncio.timeout(DEADLINE_S):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            body = await reader.readexactly(len(path))
        assert answer.startswith("HTTP/1.1 200 ")
        assert f"\r\nContent-Length: {len(path)}\r\n" in answer
        assert body.decode() == path
        self.answered.append(path)
        return "\r\nConnection: close\r\n" not in answer

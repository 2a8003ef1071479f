"""A balancer before nodes: it spreads connections over those that say they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from .nodes import NodeProcess

CHECK_INTERVAL_S = 0.02


class Balancer:
    """Gives each connection to the next of the ``nodes`` that was ready when last asked.

    Like any of its kind it does not read along, and it gives nothing to a second node.
    """

    def __init__(self, nodes: list[NodeProcess]) -> None:
        self.nodes = nodes
        self._ready: list[NodeProcess] = []
        self._given = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, nodes: list[NodeProcess]) -> AsyncIterator[Balancer]:
        """Balance inside the block; nodes may be added and removed."""
        balancer = cls(nodes)
        await balancer._check()
        checking = asyncio.create_task(balancer._check_on(), name="check-nodes")
        server = await asyncio.start_server(balancer._serve, "127.0.0.1", 0)
        balancer.port: int = server.sockets[0].getsockname()[1]
        try:
            yield balancer
        finally:
            server.close()
            for task in (checking, *balancer._tasks):
                task.cancel()
            await asyncio.gather(checking, *balancer._tasks, return_exceptions=True)

    async def _check_on(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            await self._check()

    async def _check(self) -> None:
        self._ready = [node for node in list(self.nodes) if await _is_ready(node)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._given += 1
        node = self._ready[self._given % len(self._ready)]
        try:
            from_node, to_node = await asyncio.open_connection("127.0.0.1", node.port("proxy"))
            try:
                await asyncio.gather(_pipe(reader, to_node), _pipe(from_node, writer))
            finally:
                to_node.close()
        finally:
            writer.close()
            self._tasks.discard(task)


async def _is_ready(node: NodeProcess) -> bool:
    try:
        return await node.ready() == 200
    except httpx.HTTPError:
        return False


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until one side is gone; whoever misses something will complain."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

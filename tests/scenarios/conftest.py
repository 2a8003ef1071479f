"""A cluster per story: nodes as processes, an upstream, a client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest

from gateway.store import migrate
from gateway.store.embedded import EmbeddedPostgres
from tests.postgres import temporary_postgres

from .nodes import NodeProcess, http_client
from .upstream import Upstream

StartNodes = Callable[..., Awaitable[list[NodeProcess]]]


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that may be stopped."""
    with temporary_postgres("outage") as server:
        migrate.upgrade(server.url())
        yield server


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
def shared_port() -> Iterator[int]:
    """A port that nodes may share; that it is bound here keeps others away."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
async def start_nodes(http: httpx.AsyncClient, database_url: str) -> AsyncIterator[StartNodes]:
    """Starts nodes: ``await start_nodes(3, **settings)``.

    In the end all that still run must stop in good order, and none may have had an error that
    nobody foresaw.
    """
    nodes: list[NodeProcess] = []

    async def start(number: int, **settings: object) -> list[NodeProcess]:
        settings = {"database_url": database_url, **settings}
        new = [
            NodeProcess(f"node-{len(nodes) + k}", http, **settings) for k in range(1, number + 1)
        ]
        nodes.extend(new)
        return await asyncio.gather(*(node.start() for node in new))

    yield start
    running = [node for node in nodes if node.is_running]
    try:
        codes = await asyncio.gather(*(node.stop() for node in running))
        assert codes == [0] * len(running)
    finally:
        await asyncio.gather(*(node.kill() for node in nodes if node.is_running))
    assert [stumble for node in nodes for stumble in node.stumbles()] == []

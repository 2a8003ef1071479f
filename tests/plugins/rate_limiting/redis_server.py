"""A real Redis of the tests' own; Debian's package ``redis-server`` brings it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.servers import accepts, free_port

REDIS = shutil.which("redis-server")

needs_redis = pytest.mark.skipif(
    REDIS is None and "CI" not in os.environ, reason="redis-server is not installed"
)


@asynccontextmanager
async def redis_server(directory: Path, *options: str, tls: bool = False) -> AsyncIterator[int]:
    """Run one; gives its port."""
    assert REDIS is not None, "CI has to install redis-server"
    port = free_port()
    listening = ["--port", "0", "--tls-port", str(port)] if tls else ["--port", str(port)]
    process = await asyncio.create_subprocess_exec(
        *(REDIS, *listening, "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)),
        *options,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await accepts(port)
        yield port
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def client_of(port: int, database: int = 0) -> AsyncIterator[Redis]:
    """Talk to it as somebody with redis-cli."""
    async with Redis(port=port, db=database, decode_responses=True) as client:
        yield client

"""Servers of others that tests run: a port for them, and when they are there."""

from __future__ import annotations

import asyncio
import socket

_DEADLINE_S = 10


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def accepts(port: int) -> None:
    """Wait until a server accepts connections."""
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

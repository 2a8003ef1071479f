"""Three upstreams; each answers with its number."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.proxy.peers import Upstream


def numbered(number: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number


@pytest.fixture
async def upstreams() -> AsyncIterator[list[Upstream]]:
    upstreams = [Upstream() for _ in range(3)]
    for number, upstream in enumerate(upstreams):
        await upstream.start()
        upstream.answer = numbered(number)
    yield upstreams
    for upstream in upstreams:
        await upstream.stop()

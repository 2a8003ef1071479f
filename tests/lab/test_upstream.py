"""The echo upstream: what it answers, on kept-alive connections."""

from __future__ import annotations

import asyncio

from gateway.lab.upstream import EchoUpstream
from tests.scenarios.nodes import http_client


async def test_it_answers_with_the_path_it_was_asked_for() -> None:
    async with EchoUpstream() as upstream, http_client() as http:
        assert (await http.get(f"{upstream.url}/a/b?c=d")).text == "/a/b?c=d"
        assert (await http.post(f"{upstream.url}/posted", content=b"x" * 100_000)).text == "/posted"
        assert (await http.get(f"{upstream.url}/again")).text == "/again"
        assert upstream.requests == 3


async def test_requests_may_come_in_pieces_and_ahead_of_their_answers() -> None:
    async with EchoUpstream() as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        for piece in (b"GET /first HT", b"TP/1.1\r\n\r", b"\nGET /second HTTP/1.1\r\n\r\n"):
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(30):
            assert (await reader.readuntil(b"/first")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readuntil(b"/second")
        writer.close()
        await writer.wait_closed()

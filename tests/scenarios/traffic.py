"""Clients that keep asking while something happens to the cluster."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx

from .nodes import http_client

PAUSE_S = 0.005
"""Between two requests of a client, so that there is something left of the machine."""


class SteadyTraffic:
    """A client per URL on kept-alive connections; ``answers`` counts status and text by URL."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.answers: dict[str, Counter[tuple[int, str]]] = {url: Counter() for url in urls}
        self.failures: list[httpx.HTTPError] = []
        self._has_ended = False

    @classmethod
    @asynccontextmanager
    async def to(cls, *urls: str) -> AsyncIterator[SteadyTraffic]:
        """Keep asking these URLs inside the block."""
        traffic = cls(urls)
        clients = [asyncio.create_task(traffic._ask(url), name=f"client-of-{url}") for url in urls]
        try:
            yield traffic
        finally:
            traffic._has_ended = True
            await asyncio.gather(*clients)

    async def goes_on(self) -> None:
        """Wait until each client has got further answers, or a failure."""
        before = {url: self._received(url) for url in self.answers}
        while any(self._received(url) < number + 5 for url, number in before.items()):
            await asyncio.sleep(PAUSE_S)
            if self.failures:
                return

    def _received(self, url: str) -> int:
        return self.answers[url].total()

    async def _ask(self, url: str) -> None:
        async with http_client() as client:
            while not self._has_ended:
                try:
                    response = await client.get(url)
                except httpx.HTTPError as error:
                    self.failures.append(error)
                else:
                    self.answers[url][response.status_code, response.text] += 1
                await asyncio.sleep(PAUSE_S)

"""Lets the event loop do other work whenever a slice of time is used up."""

from __future__ import annotations

import asyncio
from time import perf_counter

SLICE_S = 0.001


class Slices:
    """Long work, cut up: it asks for a `pause` wherever it can bear one."""

    def __init__(self) -> None:
        self._since = perf_counter()

    async def pause(self) -> None:
        """Let others work, if it is their turn."""
        if perf_counter() - self._since > SLICE_S:
            await asyncio.sleep(0)
            self._since = perf_counter()

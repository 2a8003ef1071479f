"""Strategy ``poll``: adds nothing to the polling that is always on."""

from __future__ import annotations

import asyncio

from gateway.settings import NodeSettings
from gateway.sync.strategy import SyncStrategy, Wake


class PollStrategy(SyncStrategy):
    """Never wakes the loop before its interval is over."""

    source = None
    promises_wake = False

    def __init__(self, settings: NodeSettings) -> None:
        del settings

    async def run(self, wake: Wake) -> None:
        """Wait until cancelled."""
        del wake
        await asyncio.Event().wait()

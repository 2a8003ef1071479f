"""Strategy ``hybrid``: a data plane asks a control plane, which also wakes it.

An announcement can be lost with the connection, which is why connecting is a reason to ask, too.
"""

from __future__ import annotations

from gateway.hybrid.link import ControlPlaneLink
from gateway.hybrid.source import ControlPlaneSource
from gateway.settings import NodeSettings
from gateway.sync.strategy import SyncStrategy, Wake


class HybridStrategy(SyncStrategy):
    """Listens on the line that the source asks on. Making it raises as `ControlPlaneLink` does."""

    promises_wake = True

    def __init__(self, settings: NodeSettings) -> None:
        self.link = ControlPlaneLink(settings)
        self.source = ControlPlaneSource(self.link)

    async def run(self, wake: Wake) -> None:
        """Listen until the line is lost, which raises StoreUnavailable."""
        self.link.announced = lambda version: wake(f"version {version} announced")
        line = await self.link.line()
        wake(f"connected to {line.peer}")
        await line.lost.wait()
        raise ConnectionError(line.why_lost)

"""Control planes and data planes within a test: real sockets and TLS, a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

from gateway.hybrid.certificates import ClusterPair, make_pair
from gateway.hybrid.control_plane import ControlPlane
from gateway.listener import address_of, open_socket
from gateway.settings import NodeSettings
from gateway.store.source import DatabaseSource
from gateway.store.store import Store
from gateway.sync.loop import SyncLoop
from gateway.sync.registry import create_strategy
from gateway.sync.status import SyncStatus


@cache
def shared_pair() -> ClusterPair:
    """Return the pair of this run's clusters."""
    return make_pair(Path(mkdtemp(prefix="gateway-tests-pair-")), days=90)


def with_pair(
    settings: NodeSettings, pair: ClusterPair | None = None, **changed: Any
) -> NodeSettings:
    """Return settings with a pair, and some others changed."""
    pair = pair or shared_pair()
    paths = {
        "cluster_cert": str(pair.certificate_path),
        "cluster_cert_key": str(pair.key_path),
    }
    return settings.model_copy(update={**paths, **changed})


class RunningControlPlane:
    """The parts of a control plane but for its Admin API."""

    def __init__(self, settings: NodeSettings, strategy: str = "notify") -> None:
        self.settings = with_pair(settings, strategy=strategy)
        self.id = uuid4()
        self.socket = open_socket("cluster", "127.0.0.1", 0, backlog=16)
        self.address = address_of(self.socket)
        self.status = SyncStatus(strategy)
        self.store = Store(self.settings)
        self.plane = ControlPlane(self.settings, self.store, self._sync_now)
        self.source = DatabaseSource(self.settings)
        self.loop = SyncLoop(
            self.source, create_strategy(self.settings), self.plane.hub, self.settings, self.status
        )

    @property
    def hub(self):
        return self.plane.hub

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunningControlPlane]:
        """Serve inside the block."""
        await self.store.start()
        await self.loop.first_load()
        syncing = asyncio.create_task(self.loop.run(), name="sync-loop")
        self.plane.start(self.id, self.socket)
        try:
            yield self
        finally:
            await self.plane.stop()
            syncing.cancel()
            await asyncio.wait({syncing})
            await self.source.close()
            await self.store.stop()

    async def _sync_now(self) -> None:
        await self.loop.sync_now()

"""A node's heartbeat: it tells the cluster that it lives and which version it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway import __version__
from gateway.status.facts import NodeFacts
from gateway.store.errors import StoreError
from gateway.store.nodes import Heartbeat
from gateway.store.store import Store

_LEAST_GAP_S = 0.05

log = structlog.get_logger(__name__)


class Pulse:
    """Reports at an interval, and soon after each apply, so that `/cluster` is not behind."""

    def __init__(self, store: Store, node: NodeFacts) -> None:
        self._store = store
        self._node = node
        self._interval_s = node.settings.heartbeat_interval_s
        self._applied = asyncio.Event()
        self._failing = False
        node.sync.on_applied.append(self._applied.set)

    async def run(self) -> None:
        """Beat until cancelled; a database that is away is said once, and the beat goes on."""
        await self._report(self._store.join)
        while True:
            self._applied.clear()  # an apply during the report is worth another one
            await self._report(self._store.heartbeat)
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._applied.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(_LEAST_GAP_S)  # a burst of applies is worth one report

    async def _report(self, write: Callable[[Heartbeat], Awaitable[None]]) -> None:
        try:
            await write(self._heartbeat())
        except StoreError as error:
            if not self._failing:
                log.warning("heartbeat not written", error=str(error))
            self._failing = True
        else:
            self._failing = False

    def _heartbeat(self) -> Heartbeat:
        identity, sync = self._node.identity, self._node.sync
        return Heartbeat(
            id=identity.id,
            name=identity.name,
            proxy_address=identity.proxy_address,
            admin_address=identity.admin_address,
            status_address=identity.status_address,
            started_at=identity.started_at,
            applied_version=None if sync.applied is None else sync.applied.version,
            strategy=sync.strategy,
            software_version=__version__,
        )

"""A node's heartbeat: it tells the cluster that it lives and which version it serves.

A write that waits for the cluster counts on two things: a node is in the list before it loads what
it will serve, and what it reports it does serve.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

import structlog

from gateway import __version__
from gateway.probe_sharing import shares_probes
from gateway.settings import NodeSettings, Role
from gateway.status.facts import ReportedFacts
from gateway.store.errors import StoreError
from gateway.store.nodes import Heartbeat
from gateway.sync.backoff import at_random_within_s, jittered_s

ALIVE_HEARTBEATS = 5
"""A node counts as alive until it has missed this many heartbeats."""

LEAST_GAP_S = 0.02
"""Between two reports, so that a burst of applies costs few."""

DELAY_S = 0.005
"""After an apply: what other nodes of this machine do for the same version goes before."""

log = structlog.get_logger(__name__)


def alive_for_s(settings: NodeSettings) -> float:
    """Return for how long after its last heartbeat a node counts as alive."""
    return ALIVE_HEARTBEATS * settings.heartbeat_interval_s


def _silence_s(settings: NodeSettings) -> float:
    """Return after how long without a heartbeat a node must take itself for given up."""
    alive_s = alive_for_s(settings)
    return min(alive_s, settings.max_stale_s) if settings.max_stale_s else alive_s


class Registry(Protocol):
    """Where heartbeats go: the database, or a data plane's control plane."""

    async def join(self, beat: Heartbeat) -> None:
        """Take a node's first heartbeat. Raises StoreError."""
        ...

    async def heartbeat(self, beat: Heartbeat) -> None:
        """Take a further one. Raises StoreError."""
        ...

    async def forget(self, node_id: UUID) -> None:
        """Hear that a node has stopped. Raises StoreError."""
        ...


class Pulse:
    """Reports at an interval, and soon after an apply, for who waits for the cluster."""

    def __init__(self, registry: Registry, node: ReportedFacts) -> None:
        self._registry = registry
        self._node = node
        self._interval_s = node.settings.heartbeat_interval_s
        self._silence_s = _silence_s(node.settings)
        self._applied = asyncio.Event()
        self._has_joined = False
        self._failing = False
        if node.settings.role is not Role.CONTROL_PLANE:  # which serves nothing to wait for
            node.sync.on_applied.append(self._applied.set)

    async def join(self) -> None:
        """Enter the cluster's list. If that fails, the beat tries again."""
        self._has_joined = await self._report(self._registry.join)

    async def run(self) -> None:
        """Beat until cancelled; a database that is away is said once, and the beat goes on."""
        while True:
            if not self._has_joined:
                await self.join()
            has_applied = self._applied.is_set()
            self._applied.clear()  # an apply during the report is worth another one
            await self._report(self._registry.heartbeat)
            await asyncio.sleep(LEAST_GAP_S)
            await self._next_apply(self._pause_s(has_applied=has_applied))

    def _pause_s(self, *, has_applied: bool) -> float:
        """Return when to beat next. All nodes apply at once, so after that they spread anew."""
        spread = at_random_within_s if has_applied else jittered_s
        return spread(self._interval_s)

    async def _next_apply(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._applied.wait()
        except TimeoutError:
            return
        await asyncio.sleep(DELAY_S)

    async def _report(self, write: Callable[[Heartbeat], Awaitable[None]]) -> bool:
        """Write a heartbeat; return whether that succeeded."""
        began = time.monotonic()
        try:
            await write(self._heartbeat())
        except StoreError as error:
            if not self._failing:
                log.warning("heartbeat not written", error=str(error))
            self._failing = True
            return False
        self._failing = False
        self._node.sync.note_reported(began, self._silence_s)
        return True

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
            applied_committed_at=None if sync.applied is None else sync.applied.committed_at,
            strategy=sync.strategy,
            software_version=__version__,
            role=self._node.settings.role,
            health={
                **self._node.health_counts.census.to_json(),
                "shares_probes": shares_probes(self._node.settings),
            },
        )

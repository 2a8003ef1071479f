"""A simulated node: the sync loop, strategy, source and heartbeat of a real one, and no listener.

What reaches PostgreSQL is what a node sends. Instead of building a snapshot it only reads its loads
to their end, so that hundreds fit into a process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog

from gateway.heartbeat import Pulse, Registry
from gateway.hybrid.strategy import HybridStrategy
from gateway.lab.fleet.messages import Apply, NodeReport
from gateway.lab.fleet.store import FrugalStore
from gateway.settings import NodeSettings
from gateway.status.facts import NodeIdentity
from gateway.status.health_counts import HealthCounts
from gateway.store.errors import StoreError
from gateway.store.source import DatabaseSource, Load, VersionMark
from gateway.sync.backoff import Backoff
from gateway.sync.loop import SyncLoop
from gateway.sync.registry import create_strategy
from gateway.sync.status import SyncState, SyncStatus

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 5.0
FAREWELL_S = 2.0

_log = structlog.get_logger(__name__)


class DrainingApplier:
    """Reads a load to its end, as a snapshot's builder would, and keeps nothing."""

    async def apply(self, load: Load) -> None:
        """Read all rows; raises StoreUnavailable."""
        async for _ in load.batches:
            pass


class SimulatedNode:
    """A node as PostgreSQL sees it; also what its heartbeat tells of (`ReportedFacts`).

    ``clock`` gives the database's time in seconds since the epoch.
    """

    def __init__(self, settings: NodeSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.sync = SyncStatus(settings.strategy, observe_apply=self._observe)
        self.identity = _identity(settings.node_name)
        self.health_counts = HealthCounts()  # of which there are none
        self._clock = clock
        strategy = create_strategy(settings)
        self._store = FrugalStore(settings)
        link = strategy.link if isinstance(strategy, HybridStrategy) else None
        self._registry: Registry = link or self._store
        self._source = strategy.source or DatabaseSource(settings)
        self._loop = SyncLoop(self._source, strategy, DrainingApplier(), settings, self.sync)
        self._pulse = Pulse(self._registry, self)
        self._applies: list[Apply] = []
        self._own_propagation_s: list[float] = []
        self._observed: VersionMark | None = None

    async def run(self, after_s: float) -> None:
        """Start after a while and live until cancelled; a part that ends takes the node along."""
        await asyncio.sleep(after_s)
        await self._pulse.join()
        await self._load()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._loop.run(), name=f"sync-{self.settings.node_name}")
            parts.create_task(self._pulse.run(), name=f"heartbeat-{self.settings.node_name}")

    async def stop(self) -> None:
        """Leave the cluster and close all connections, once `run` is cancelled."""
        await _in_time(self._registry.forget(self.identity.id))
        await _in_time(self._source.close())
        await _in_time(self._store.stop())

    @property
    def is_synced(self) -> bool:
        """Whether the last sync succeeded."""
        return self.sync.state is SyncState.SYNCED

    def report(self) -> NodeReport:
        """Return what the node did so far."""
        return NodeReport(
            name=self.settings.node_name,
            applies=self._applies,
            own_propagation_s=self._own_propagation_s,
            syncs=self.sync.syncs,
            full_loads=self.sync.full_loads,
            failures=self.sync.failures,
            strategy_restarts=self.sync.strategy_restarts,
        )

    # -- life

    async def _load(self) -> None:
        """Load everything, again and again if need be, as a supervisor restarts a node."""
        backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S)
        while not self.is_synced:
            try:
                await self._loop.first_load()
            except StoreError as error:
                self.sync.failures += 1
                self.sync.last_error = str(error)
                await asyncio.sleep(backoff.next_s())

    def _observe(self, duration_s: float, propagation_s: float | None) -> None:
        """Note an apply after the first: the status has the new version, we have the one before."""
        del duration_s
        since, self._observed = self._observed, self.sync.applied
        if since is not None and self._observed is not None:
            version = self._observed.version
            self._applies.append(Apply(since=since.version, version=version, at_s=self._clock()))
        if propagation_s is not None:
            self._own_propagation_s.append(propagation_s)


def database_clock(ahead_s: float) -> Callable[[], float]:
    """Return the database's clock as far as this machine can tell it."""
    return lambda: time.time() + ahead_s


def _identity(name: str) -> NodeIdentity:
    return NodeIdentity(
        id=uuid4(),
        name=name,
        started_at=datetime.now(UTC),
        proxy_address=f"{name}:8000",
        admin_address=f"{name}:8001",
        status_address=f"{name}:8100",
    )


async def _in_time(step: Coroutine[Any, Any, None]) -> None:
    """Take a step of the stop, which must not fail or hold up the others."""
    with suppress(StoreError, TimeoutError, OSError):
        async with asyncio.timeout(FAREWELL_S):
            await step

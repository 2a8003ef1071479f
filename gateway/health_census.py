"""Counts what the health checks of a node do, and takes a census of its unhealthy addresses.

A census looks at every upstream entity, a few at a time, so it is taken when something has changed,
and now and then for the sake of what went away without a word.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import UUID

from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report
from gateway.proxy.health.plan import ProbePlan
from gateway.status.health import HealthChange, HealthFacts, UpstreamHealth, host_and_port
from gateway.status.health_counts import (
    LONGEST_NAME,
    MOST_NAMED,
    Census,
    HealthCounts,
    UnhealthyAddress,
)

INTERVAL_S = 10.0
"""Between two of them, if nothing changes."""

GAP_S = 0.5
"""Between two of them, however much changes."""

_SLICE_S = 0.001


class HealthCensus:
    """Keeps ``counts`` up to date."""

    def __init__(self, health: HealthFacts) -> None:
        self.counts = HealthCounts()
        self._health = health
        self._has_changed = asyncio.Event()
        health.on_change(self._note_change)

    def counted(self, plan: ProbePlan) -> ProbePlan:
        """Return the same plan of probes, which are counted from now on."""
        return _Counted(plan, self.counts)

    async def run(self) -> None:
        """Take one after another until cancelled."""
        while True:
            self._has_changed.clear()
            self.counts.census = await self._take()
            await asyncio.sleep(GAP_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S):
                    await self._has_changed.wait()

    async def _take(self) -> Census:
        checked, unhealthy = 0, 0
        named: list[UnhealthyAddress] = []
        began = time.perf_counter()
        for upstream in self._health.each():
            found, bad = _look_at(upstream)
            checked += found
            unhealthy += len(bad)
            named += bad[: MOST_NAMED - len(named)]
            if time.perf_counter() - began > _SLICE_S:
                await asyncio.sleep(0)
                began = time.perf_counter()
        return Census(checked, unhealthy, tuple(named))

    def _note_change(self, change: HealthChange) -> None:
        _count(self.counts.changes, "healthy" if change.available else "unhealthy")
        self._has_changed.set()


class _Counted:
    """A plan of probes that counts them."""

    def __init__(self, plan: ProbePlan, counts: HealthCounts) -> None:
        self._plan = plan
        self._counts = counts

    def is_ours(self, upstream_id: UUID, identity: Identity) -> bool:
        return self._plan.is_ours(upstream_id, identity)

    def note(
        self, upstream_id: UUID, identity: Identity, report: Report | None, reason: str
    ) -> None:
        _count(self._counts.probes, "nothing" if report is None else report.name.lower())
        self._plan.note(upstream_id, identity, report, reason)


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _look_at(upstream: UpstreamHealth) -> tuple[int, list[UnhealthyAddress]]:
    """Return how many addresses have their health checked, and those that are unhealthy."""
    checked = [
        (target.host, address)
        for target in upstream.targets
        for address in target.addresses
        if address.state is not None
    ]
    name = upstream.name[:LONGEST_NAME]
    return len(checked), [
        UnhealthyAddress(name, host[:LONGEST_NAME], host_and_port(address.ip, address.port))
        for host, address in checked
        if not address.available
    ]

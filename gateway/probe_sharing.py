"""Sharing probes over the database: this node tells what it has found, and hears the others.

Each interval costs at most one statement that writes and one that reads, and none while there is
nothing to probe. Who probes what is told in `gateway/balancing/shared_probes.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import structlog

from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report
from gateway.balancing.shared_probes import Finding, SharedProbes
from gateway.settings import NodeSettings, Role
from gateway.store.errors import StoreError
from gateway.store.probe_reports import MOST_AT_ONCE, ProbeReports
from gateway.sync.backoff import jittered_s

PATIENCE = 5
"""Intervals without a report after which a prober is given up."""

_HEARD_AT_ONCE = 50
"""Reports that are taken before the event loop gets its turn."""

Take = Callable[[UUID, Identity, Report, str], None]
"""Takes what the probe of another node has found."""

_log = structlog.get_logger(__name__)


def shares_probes(settings: NodeSettings) -> bool:
    """Tell whether a node shares probes; what has no database cannot."""
    return settings.health_probers > 0 and settings.role is Role.TRADITIONAL


class ProbeSharing:
    """The plan of probes of a node that shares them (`ProbePlan`), and the exchange of reports."""

    def __init__(
        self, node_id: UUID, settings: NodeSettings, reports: ProbeReports, take: Take
    ) -> None:
        self._interval_s = settings.health_report_interval_s
        self._share = SharedProbes(node_id, settings.health_probers, PATIENCE * self._interval_s)
        self._reports = reports
        self._take = take
        self._heard_until: datetime | None = None
        self._is_failing = False

    # -- ProbePlan

    def is_ours(self, upstream_id: UUID, identity: Identity) -> bool:
        """Tell whether this node is to probe an address now."""
        return self._share.is_ours((upstream_id, identity), time.monotonic())

    def note(
        self, upstream_id: UUID, identity: Identity, report: Report | None, reason: str
    ) -> None:
        """Keep what a probe has found until the others are told."""
        self._share.note((upstream_id, identity), report, reason, time.monotonic())

    # -- the exchange

    async def run(self) -> None:
        """Exchange reports until cancelled; a database that is away is said once."""
        await self._exchange(self._hear)  # who is there, before the first probe is due
        while True:
            await asyncio.sleep(jittered_s(self._interval_s))
            if not self._share.is_idle:
                await self._exchange(self._tell, self._hear)

    async def _exchange(self, *steps: Callable[[], Awaitable[None]]) -> None:
        try:
            for step in steps:
                await step()
        except StoreError as error:
            if not self._is_failing:
                _log.warning("probes are not shared: each node probes by itself", error=str(error))
            self._is_failing = True
        else:
            self._is_failing = False

    async def _tell(self) -> None:
        while found := self._share.take_unreported(MOST_AT_ONCE, time.monotonic()):
            await self._reports.write(found)

    async def _hear(self) -> None:
        heard = await self._reports.read(self._heard_until)
        self._heard_until = heard.until
        self._share.meet(heard.live)
        for number, finding in enumerate(heard.findings, 1):
            self._take_over(finding)
            if number % _HEARD_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _take_over(self, finding: Finding) -> None:
        times = self._share.hear(finding, time.monotonic())
        if finding.report is not None:
            for _ in range(times):
                self._take(
                    *finding.address, finding.report, f"another node's probe: {finding.reason}"
                )

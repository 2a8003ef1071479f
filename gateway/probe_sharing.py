"""Sharing probes over the database: this node tells what it has found, and hears the others.

Each interval costs at most one statement that writes and one that reads, and none before there is
anything to probe. Who probes what is told in `gateway/balancing/shared_probes.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report
from gateway.balancing.shared_probes import Finding, SharedProbes
from gateway.settings import NodeSettings, Role
from gateway.store.errors import StoreError
from gateway.store.probe_reports import MOST_AT_ONCE, ProbeReports
from gateway.store.store import Store
from gateway.sync.backoff import jittered_s

PATIENCE = 5
"""Intervals without a report after which a prober is given up."""

OVERLAP = timedelta(seconds=1)
"""How far back before the last question the next one looks: what was not committed by then."""

MOST_QUESTIONS = 100
"""In one interval, however much others report."""

Take = Callable[[UUID, Identity, Report, str], None]
"""Takes what the probe of another node has found."""

_log = structlog.get_logger(__name__)


def shares_probes(settings: NodeSettings) -> bool:
    """Tell whether a node shares probes; what has no database cannot."""
    return settings.health_probers > 0 and settings.role is Role.TRADITIONAL


class ProbeSharing:
    """The plan of probes of a node that shares them (`ProbePlan`), and the exchange of reports.

    Nodes live that were heard of within ``alive_s``.
    """

    def __init__(
        self, node_id: UUID, settings: NodeSettings, store: Store, take: Take, alive_s: float
    ) -> None:
        self._interval_s = settings.health_report_interval_s
        patience_s = PATIENCE * self._interval_s
        self._share = SharedProbes(node_id, settings.health_probers, patience_s)
        self._reports = ProbeReports(store, node_id, alive_s, patience_s)
        self._take = take
        self._heard_at: datetime | None = None
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
        since = None if self._heard_at is None else self._heard_at - OVERLAP
        for number in range(MOST_QUESTIONS):
            heard = await self._reports.read(since)
            if number == 0:
                self._heard_at = heard.now
            self._share.meet(heard.live)
            for finding in heard.findings:
                self._take_over(finding)
            since = heard.rest_since
            if since is None:
                return

    def _take_over(self, finding: Finding) -> None:
        times = self._share.hear(finding, time.monotonic())
        if finding.report is not None:
            for _ in range(times):
                self._take(
                    *finding.address, finding.report, f"another node's probe: {finding.reason}"
                )

"""The watch over the endpoints of one upstream entity: they are probed, each in its time.

Source: ``balancer.md`` section 6.3. An endpoint is first probed at some moment within its interval,
so that neither the targets of an upstream nor the nodes of a cluster march in step.
"""

from __future__ import annotations

import asyncio
from math import isfinite
from random import random
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.balancing import Endpoint
from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report
from gateway.balancing.health_checks import HealthChecks, Probes
from gateway.proxy.deadlines import NEVER
from gateway.proxy.health.probe import probe
from gateway.proxy.health.prober import Room
from gateway.status.health import HealthChange

if TYPE_CHECKING:
    from gateway.proxy.destinations import Destination
    from gateway.proxy.health.checker import HealthChecker
    from gateway.snapshot import Upstream


class Watched:
    """An endpoint that is probed. The wheel of deadlines tells when it is due."""

    __slots__ = (
        "_watch",
        "deadline",
        "endpoint",
        "is_busy",
        "is_wanted",
        "probes",
        "room",
        "slot_at",
        "task",
    )

    def __init__(self, endpoint: Endpoint, probes: Probes, watch: Watch) -> None:
        self.endpoint = endpoint
        self.probes = probes
        self.room = watch.room
        self.is_wanted = True
        self.is_busy = False  # is being probed, or waits for its turn
        self.task: asyncio.Task[None] | None = None
        self.deadline = NEVER
        self.slot_at = NEVER
        self._watch = watch

    @property
    def concurrency(self) -> int:
        """How many of its upstream entity may be probed at once."""
        return self.probes.concurrency

    @property
    def interval_s(self) -> float:
        """How often it is probed, as things are; 0 for never."""
        return self.probes.interval_s(available=self.endpoint.available)

    def on_deadline(self) -> None:
        """Be probed."""
        self._watch.on_due(self)

    async def probe(self) -> None:
        """Be probed."""
        await self._watch.probe(self)


class Watch:
    """Probes what its destination consists of at the moment, and has names looked up in time."""

    __slots__ = ("_checker", "_destination", "_probes", "_watched", "deadline", "room", "slot_at")

    def __init__(self, destination: Destination, checker: HealthChecker) -> None:
        self.room = Room()
        self.deadline = NEVER
        self.slot_at = NEVER
        self._destination = destination
        self._checker = checker
        self._probes: Probes | None = None
        self._watched: dict[Identity, Watched] = {}

    # -- what there is to be probed

    def follow(self, checks: HealthChecks | None) -> None:
        """Probe in this way whoever is an endpoint now and has weight."""
        before, self._probes = self._probes, None if checks is None else checks.probes
        endpoints = self._destination.endpoints.values() if self._probes else ()
        wanted = {endpoint.identity: endpoint for endpoint in endpoints if endpoint.weight}
        for identity, watched in list(self._watched.items()):
            if wanted.get(identity) is not watched.endpoint:
                self._dismiss(self._watched.pop(identity))
        is_new = self._probes != before
        for identity, endpoint in wanted.items():
            self._watch_over(identity, endpoint, anew=is_new)
        if self._probes is None:
            self.keep_fresh(NEVER)

    def _watch_over(self, identity: Identity, endpoint: Endpoint, *, anew: bool) -> None:
        """See to it that an endpoint is probed; ``anew``: in another way than before."""
        assert self._probes is not None  # noqa: S101 - or nobody would be wanted
        watched = self._watched.get(identity)
        if watched is None:
            watched = self._watched[identity] = Watched(endpoint, self._probes, self)
        elif not anew:
            return
        watched.probes = self._probes
        if not watched.is_busy:
            self._arm(watched, watched.interval_s * random())  # noqa: S311 - spreads load only

    def keep_fresh(self, due_at: float) -> None:
        """Have names looked up when they are due: of what is probed, maybe nobody else asks."""
        if self._probes is not None and isfinite(due_at):
            self._checker.wheel.expire_in(self, max(due_at - perf_counter(), 0))
        else:
            self._checker.wheel.forget(self)
            self.deadline = NEVER

    def on_deadline(self) -> None:
        """Look names up."""
        self._destination.refresh(perf_counter())

    def stop(self) -> None:
        """Probe nobody any more."""
        self.follow(None)

    def _dismiss(self, watched: Watched) -> None:
        watched.is_wanted = False
        self._arm(watched, 0)
        if watched.task is not None:
            watched.task.cancel()

    def _arm(self, watched: Watched, after_s: float) -> None:
        """Let an endpoint be due in a while; those that are not to be probed never are."""
        wheel = self._checker.wheel
        if watched.is_wanted and watched.interval_s:
            wheel.expire_in(watched, max(after_s, 0))
        else:
            wheel.forget(watched)
            watched.deadline = NEVER

    # -- probes

    def on_due(self, watched: Watched) -> None:
        """Probe an endpoint as soon as there is room, unless other nodes do."""
        checker = self._checker
        if checker.plan.is_ours(self._upstream.id, watched.endpoint.identity):
            watched.is_busy = True
            checker.prober.enter(watched)
        else:
            self._arm(watched, watched.interval_s)

    async def probe(self, watched: Watched) -> None:
        """Probe an endpoint, and take note of what that says."""
        checker, upstream, endpoint = self._checker, self._upstream, watched.endpoint
        probes, began_at = watched.probes, perf_counter()
        try:
            security = await checker.security_of(upstream, probes)
            outcome = await probe(endpoint, probes, security)
            if outcome.was_asked:
                checker.plan.note(upstream.id, endpoint.identity, outcome.report, outcome.reason)
            if outcome.report is not None and watched.is_wanted:
                self._destination.report(
                    endpoint, outcome.report, probes.criteria.limits, f"probe: {outcome.reason}"
                )
        finally:
            watched.is_busy, watched.task = False, None
            self._arm(watched, began_at + watched.interval_s - perf_counter())

    def take(self, identity: Identity, report: Report, reason: str) -> None:
        """Take what another node's probe has found; nothing if that endpoint is not probed here."""
        watched = self._watched.get(identity)
        if watched is not None:
            limits = watched.probes.criteria.limits
            self._destination.report(watched.endpoint, report, limits, reason)

    def on_turn(self, endpoint: Endpoint, reason: str) -> None:
        """Tell that an endpoint has become available, or not; its interval is another now."""
        watched = self._watched.get(endpoint.identity)
        if watched is not None and not watched.is_busy:
            self._arm(watched, watched.interval_s)
        upstream = self._upstream
        change = HealthChange(
            upstream.id,
            upstream.name,
            endpoint.host,
            endpoint.address,
            endpoint.port,
            available=endpoint.available,
            reason=reason,
        )
        self._checker.changes.note(change)

    @property
    def _upstream(self) -> Upstream:
        upstream = self._destination.upstream
        assert upstream is not None  # noqa: S101 - nobody else's health is checked
        return upstream

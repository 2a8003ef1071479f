"""What the health checks of a node have in common: their clock, their bounds, whom they tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.balancing.health_checks import Probes
from gateway.proxy.deadlines import DeadlineWheel
from gateway.proxy.health.changes import HealthChanges
from gateway.proxy.health.plan import EachNode, ProbePlan
from gateway.proxy.health.probe import Security
from gateway.proxy.health.prober import Prober
from gateway.proxy.health.watch import Watch
from gateway.proxy.upstream_tls import UpstreamTls
from gateway.snapshot import Snapshot, Upstream

if TYPE_CHECKING:
    from gateway.proxy.destinations import Destination


class HealthChecker:
    """Watches over destinations.

    ``limit`` is how many probes there may be at once, ``snapshot`` returns the current one. With
    another ``plan``, nodes share the probes.
    """

    def __init__(
        self, limit: int, wheel: DeadlineWheel, tls: UpstreamTls, snapshot: Callable[[], Snapshot]
    ) -> None:
        self.wheel = wheel
        self.prober = Prober(limit)
        self.changes = HealthChanges()
        self.plan: ProbePlan = EachNode()
        self._tls = tls
        self._snapshot = snapshot

    def watch(self, destination: Destination) -> Watch:
        """Return the watch over a destination of an upstream entity."""
        return Watch(destination, self)

    async def security_of(self, upstream: Upstream, probes: Probes) -> Security | None:
        """Return what probes of an upstream entity require, None without TLS."""
        if not probes.tls:
            return None
        terms = self._tls.terms_of_probes(upstream, self._snapshot(), verify=probes.verify)
        return Security(terms, await self._tls.context_of(terms))

    async def stop(self) -> None:
        """End all probes, and tell nobody anything any more."""
        await self.prober.stop()
        self.changes.stop()

"""What this node says of the health of upstream entities, and takes word of (`HealthFacts`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from uuid import UUID

from gateway.balancing import Endpoint
from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report
from gateway.proxy.destinations import Destination, Destinations
from gateway.proxy.health.plan import ProbePlan
from gateway.snapshot import Target
from gateway.status.health import (
    AddressHealth,
    HealthChange,
    TargetHealth,
    UpstreamHealth,
)


class HealthView:
    """The health of the destinations of a node."""

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations

    async def of(self, upstream_id: UUID) -> UpstreamHealth | None:
        """Return how an upstream entity is; None for one that this node does not know."""
        destination = self._find(upstream_id)
        if destination is None:
            return None
        await destination.names_asked()
        return _of(upstream_id, destination)

    def each(self) -> Iterator[UpstreamHealth]:
        """Yield, without waiting, all that have their health checked or had traffic."""
        for destination in self._destinations.known():
            if destination.upstream is not None:
                yield _of(destination.upstream.id, destination)

    def mark(self, target_id: UUID, address: str | None, *, healthy: bool) -> int:
        """Force the state of a target's addresses, or of one; return of how many."""
        upstream_id = self._destinations.snapshot.target_owners.get(target_id)
        destination = None if upstream_id is None else self._find(upstream_id)
        if destination is None or destination.upstream is None or not destination.health_checks:
            return 0
        target = destination.upstream.targets.get(target_id)
        return 0 if target is None else destination.mark_target(target, address, healthy=healthy)

    def take(self, upstream_id: UUID, identity: Identity, report: Report, reason: str) -> None:
        """Take what the probe of another node has found; nothing of what is not probed here."""
        destination = self._find(upstream_id)
        if destination is not None:
            destination.take_probe(identity, report, reason)

    def share_probes(self, plan: ProbePlan) -> None:
        """Probe by another plan from now on."""
        self._destinations.checker.plan = plan

    def on_change(self, hear: Callable[[HealthChange], None]) -> None:
        """Let ``hear`` hear of each change from now on."""
        self._destinations.checker.changes.on_change(hear)

    def _find(self, upstream_id: UUID) -> Destination | None:
        upstream = self._destinations.snapshot.upstreams.get(upstream_id)
        return None if upstream is None else self._destinations.of_upstream(upstream)


def _of(id_: UUID, destination: Destination) -> UpstreamHealth:
    upstream = destination.upstream
    targets = {} if upstream is None else upstream.targets
    return UpstreamHealth(
        id_,
        "" if upstream is None else upstream.name,
        checked=destination.health_checks is not None,
        healthy=destination.is_healthy,
        targets=tuple(_of_target(id_, target, destination) for id_, target in targets.items()),
    )


def _of_target(id_: UUID, target: Target, destination: Destination) -> TargetHealth:
    endpoints = sorted(destination.endpoints_of(target), key=attrgetter("identity"))
    is_checked = destination.health_checks is not None
    return TargetHealth(
        id_,
        target.host,
        target.port,
        target.weight,
        *_of_name(target, endpoints, destination),
        tuple(_of_endpoint(endpoint, is_checked=is_checked) for endpoint in endpoints),
    )


def _of_name(
    target: Target, endpoints: list[Endpoint], destination: Destination
) -> tuple[str, str]:
    """Return the type of record that leads to the endpoints, or why there are none."""
    name = destination.name_of(target)
    if not endpoints:
        return "", "" if name is None else name.failure
    record_type = "" if name is None else name.record_type
    return record_type or ("AAAA" if ":" in endpoints[0].address else "A"), ""


def _of_endpoint(endpoint: Endpoint, *, is_checked: bool) -> AddressHealth:
    return AddressHealth(
        endpoint.address,
        endpoint.port,
        endpoint.weight,
        endpoint.available,
        endpoint.health.state.value if is_checked and endpoint.weight else None,
    )

"""Who probes an address: each node all of them, or nodes that share the work."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report


class ProbePlan(Protocol):
    """Asked before each probe, and told how it has ended. Both have to be quick."""

    def is_ours(self, upstream_id: UUID, identity: Identity) -> bool:
        """Tell whether this node is to probe an address now."""
        ...

    def note(
        self, upstream_id: UUID, identity: Identity, report: Report | None, reason: str
    ) -> None:
        """Hear what a probe of this node has found, None for nothing, so that others are told."""
        ...


class EachNode:
    """Each node probes everything, and tells nobody."""

    def is_ours(self, upstream_id: UUID, identity: Identity) -> bool:
        """Return that it is."""
        del upstream_id, identity
        return True

    def note(
        self, upstream_id: UUID, identity: Identity, report: Report | None, reason: str
    ) -> None:
        """Keep it to ourselves."""

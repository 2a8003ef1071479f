"""What a node tells about itself to its Admin API and its status listener."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from gateway.settings import NodeSettings

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from gateway.access_log import WriterCounts
    from gateway.status.health import HealthFacts
    from gateway.status.health_counts import HealthCounts
    from gateway.store.source import VersionMark
    from gateway.sync.status import SyncStatus


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who a node is and where it listens (``host:port`` each)."""

    id: UUID
    name: str
    started_at: datetime
    proxy_address: str
    admin_address: str
    status_address: str


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """Client connections of the proxy listeners, as nginx's stub status names them."""

    accepted: int
    handled: int
    active: int
    reading: int
    writing: int
    waiting: int
    total_requests: int


@dataclass(frozen=True, slots=True)
class BadEntity:
    """A row that no code can read: it is left out of the snapshot, all else is served.

    ``name`` is what it calls itself, if it does; of a plugin, which plugin it is.
    """

    kind: str
    id: str
    reason: str
    name: str | None = None


class DiskCopyFacts(Protocol):
    """The copy of the configuration that the node could start from without its database."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def mark(self) -> VersionMark | None:
        """The version in it."""
        ...

    @property
    def problem(self) -> str | None:
        """Why it is not up to date, if it is not."""
        ...


class ReportedFacts(Protocol):
    """The running node, as far as its heartbeat tells of it."""

    @property
    def identity(self) -> NodeIdentity:
        """Who this node is."""
        ...

    @property
    def settings(self) -> NodeSettings:
        """The settings this node runs with."""
        ...

    @property
    def sync(self) -> SyncStatus:
        """How far behind the database this node is."""
        ...

    @property
    def health_counts(self) -> HealthCounts:
        """What its health checks have done, and how many addresses are unhealthy."""
        ...


class NodeFacts(ReportedFacts, Protocol):
    """The running node, as its two HTTP apps see it."""

    @property
    def disk_copy(self) -> DiskCopyFacts | None:
        """The node's disk copy, None if it keeps none."""
        ...

    @property
    def health(self) -> HealthFacts:
        """The health of upstream entities as this node sees it."""
        ...

    @property
    def access_log_counts(self) -> WriterCounts | None:
        """What became of the lines of the access log, None if there is none."""
        ...

    @property
    def plugin_failures(self) -> Mapping[str, int]:
        """How often plugins have failed, by name."""
        ...

    @property
    def loop_stalls(self) -> Mapping[str, int]:
        """How often the event loop was held up, by the plugin that did it, or ``other``."""
        ...

    @property
    def spooled_bytes(self) -> int:
        """Bytes of bodies that are on disk at the moment."""
        ...

    @property
    def starting(self) -> bool:
        """Whether some listener does not accept yet."""
        ...

    @property
    def draining(self) -> bool:
        """Whether the node is stopping and takes no new work."""
        ...

    def connections(self) -> ConnectionCounts:
        """Return the counts at this moment."""
        ...

    def shared_by_plugin(self, name: str) -> Any:
        """Return what the objects of a plugin share here, None as long as there are none."""
        ...

    def plugin_metrics(self) -> Iterable[Metric]:
        """Return what plugins measure, at this moment, under names without a prefix."""
        ...

    def bad_entities(self) -> list[BadEntity]:
        """Return the rows that the current snapshot leaves out."""
        ...

"""A node as its status listener sees it, with nothing behind it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client.core import Metric

from gateway.access_log import WriterCounts
from gateway.settings import NodeSettings
from gateway.status.facts import BadEntity, ConnectionCounts, NodeIdentity
from gateway.status.health import UpstreamHealth
from gateway.status.health_counts import HealthCounts
from gateway.store.source import VersionMark
from gateway.sync.status import SyncState, SyncStatus

NODE_ID = UUID(int=1)
EPOCH = UUID(int=2)
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = NodeIdentity(
    NODE_ID, "node-a", STARTED_AT, "127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1:8100"
)


@dataclass
class SomeDiskCopy:
    """`DiskCopyFacts` with no file behind it."""

    path: Path
    mark: VersionMark | None = None
    problem: str | None = None


@dataclass
class SomeHealth:
    """What is known of upstreams."""

    upstreams: list[UpstreamHealth] = field(default_factory=list)

    def each(self) -> Iterator[UpstreamHealth]:
        return iter(self.upstreams)


@dataclass
class SomeNode:
    """`NodeFacts` to be set as a test needs them; without a configuration at first."""

    settings: NodeSettings = field(default_factory=NodeSettings)
    sync: SyncStatus = field(default_factory=lambda: SyncStatus("notify"))
    starting: bool = False
    draining: bool = False
    bad: list[BadEntity] = field(default_factory=list)
    identity: NodeIdentity = IDENTITY
    disk_copy: SomeDiskCopy | None = None
    access_log_counts: WriterCounts | None = None
    spooled_bytes: int = 0
    plugin_failures: dict[str, int] = field(default_factory=dict)
    loop_stalls: dict[str, int] = field(default_factory=dict)
    health_counts: HealthCounts = field(default_factory=HealthCounts)
    of_plugins: list[Metric] = field(default_factory=list)
    health: SomeHealth = field(default_factory=SomeHealth)

    def connections(self) -> ConnectionCounts:
        return ConnectionCounts(
            accepted=10, handled=9, active=6, reading=1, writing=2, waiting=3, total_requests=100
        )

    def shared_by_plugin(self, name: str) -> Any:
        del name

    def plugin_metrics(self) -> Iterable[Metric]:
        return self.of_plugins

    def bad_entities(self) -> list[BadEntity]:
        return self.bad

    def load(self, version: int) -> None:
        """Apply a version."""
        self.sync.applied = VersionMark(EPOCH, version, STARTED_AT)
        self.sync.seen_version = version
        self.sync.state = SyncState.SYNCED
        self.sync.last_success = time.monotonic()


def some_node(**settings: Any) -> SomeNode:
    return SomeNode(NodeSettings(**settings))

"""What nodes report of themselves, and the cluster as their reports show it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, delete, func, select, text, true

from gateway.store.tables import config_version, nodes

FORGET_AFTER = timedelta(hours=1)
"""A node not seen for this long is removed; one that stops in order removes itself."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a node reports: who it is (``host:port`` addresses) and how far it has got.

    ``health`` is what it tells of unhealthy addresses, ready for JSON and of limited size.
    """

    id: UUID
    name: str
    proxy_address: str
    admin_address: str
    status_address: str
    started_at: datetime
    applied_version: int | None
    applied_committed_at: datetime | None
    strategy: str
    software_version: str
    role: str
    health: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as it last reported itself; its age in seconds is by the database's clock."""

    id: UUID
    name: str
    proxy_address: str
    admin_address: str
    status_address: str
    started_at: datetime
    last_seen_at: datetime
    applied_version: int | None
    applied_committed_at: datetime | None
    strategy: str
    software_version: str
    role: str
    health: Mapping[str, Any] | None
    age_s: float


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The newest version and all nodes, in one read; ``now`` is the database's clock."""

    epoch: UUID
    version: int
    committed_at: datetime
    now: datetime
    nodes: list[NodeRow]


CLUSTER: Executable = (
    select(
        config_version.c.epoch,
        config_version.c.version,
        config_version.c.committed_at,
        func.clock_timestamp().label("now"),
        nodes,
    )
    .select_from(config_version.outerjoin(nodes, true()))
    .order_by(nodes.c.name, nodes.c.id)
)
"""One row per node; without nodes one row of NULLs; no row without a version."""

FORGET_UNSEEN: Executable = text("""
    DELETE FROM nodes WHERE id IN (
        SELECT id FROM nodes WHERE last_seen_at < clock_timestamp() - :age
        FOR UPDATE SKIP LOCKED
    )
""").bindparams(age=FORGET_AFTER)


_REPORT = text("""
    INSERT INTO nodes (
        id, name, proxy_address, admin_address, status_address, started_at, last_seen_at,
        applied_version, applied_committed_at, strategy, software_version, role, health
    )
    SELECT
        CAST(:id AS uuid), :name, :proxy_address, :admin_address, :status_address,
        CAST(:started_at AS timestamptz), clock_timestamp(), CAST(:applied_version AS bigint),
        CAST(:applied_committed_at AS timestamptz), :strategy, :software_version, :role,
        CAST(:health AS jsonb)
    FROM set_config('synchronous_commit', :durability, true)
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name,
        proxy_address = excluded.proxy_address,
        admin_address = excluded.admin_address,
        status_address = excluded.status_address,
        started_at = excluded.started_at,
        last_seen_at = excluded.last_seen_at,
        applied_version = excluded.applied_version,
        applied_committed_at = excluded.applied_committed_at,
        strategy = excluded.strategy,
        software_version = excluded.software_version,
        role = excluded.role,
        health = excluded.health
""")
"""One text for all heartbeats: to build it anew costs as much as to write it."""


def report(beat: Heartbeat, *, durable: bool = False) -> Executable:
    """Return the statement that writes a heartbeat.

    All see it at once. Only the first one needs to be ``durable``: that a node is there at all
    must survive a crash of the server, when it was last seen need not.
    """
    durability = "on" if durable else "off"
    told = asdict(beat) | {"health": json.dumps(beat.health)}
    return _REPORT.bindparams(durability=durability, **told)


def forget(node_id: UUID) -> Executable:
    """Return the statement that removes a node."""
    return delete(nodes).where(nodes.c.id == node_id)


def forget_predecessors(beat: Heartbeat) -> Executable:
    """Return the statement that removes nodes of this one's name and addresses.

    They cannot live: this one has bound what they listened on.
    """
    same = (nodes.c[name] == getattr(beat, name) for name in _PLACE)
    return delete(nodes).where(nodes.c.id != beat.id, *same)


_PLACE = ("name", "proxy_address", "admin_address", "status_address")


def view(rows: Sequence[Mapping[str, Any]]) -> ClusterView:
    """Return the cluster that the rows of ``CLUSTER`` describe, at least one."""
    first = rows[0]
    seen = [_node(row) for row in rows if row["id"] is not None]
    return ClusterView(first["epoch"], first["version"], first["committed_at"], first["now"], seen)


def _node(row: Mapping[str, Any]) -> NodeRow:
    columns = {column.name: row[column.name] for column in nodes.columns}
    return NodeRow(**columns, age_s=(row["now"] - row["last_seen_at"]).total_seconds())

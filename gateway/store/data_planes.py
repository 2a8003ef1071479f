"""What data planes report to control planes: written in batches, read by any control plane."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, bindparam, delete, func, select, text, true
from sqlalchemy.dialects.postgresql import TIMESTAMP

from gateway.store.errors import NO_VERSION, StoreUnavailable
from gateway.store.source import VersionMark
from gateway.store.store import Store
from gateway.store.tables import config_version, data_planes

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DataPlaneReport:
    """A data plane as a control plane knows it; it was last heard ``heard_ago_s`` ago.

    ``health`` is what it tells of unhealthy addresses, ready for JSON; None if it does not.
    """

    id: UUID
    name: str
    ip: str
    software_version: str
    applied_version: int | None
    applied_committed_at: datetime | None
    sync_status: str
    labels: Labels
    cert_expires_at: datetime | None
    control_plane_id: UUID
    heard_ago_s: float
    health: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DataPlaneRow:
    """A data plane as it was last reported; its age in seconds is by the database's clock."""

    id: UUID
    name: str
    ip: str
    software_version: str
    first_seen_at: datetime
    last_seen_at: datetime
    applied_version: int | None
    applied_committed_at: datetime | None
    sync_status: str
    labels: Labels
    cert_expires_at: datetime | None
    control_plane_id: UUID
    health: Mapping[str, Any] | None
    age_s: float


@dataclass(frozen=True, slots=True)
class DataPlanePage:
    """Some data planes in the order of their ids, and the newest version, in one read."""

    newest: VersionMark
    rows: list[DataPlaneRow]


class DataPlaneTable:
    """The table of data planes. All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, reports: Sequence[DataPlaneReport]) -> None:
        """Write what data planes report, in one statement."""
        async with self._store.autocommit() as session:
            await session.execute(report(reports))

    async def page(self, size: int, after_id: UUID | None = None) -> DataPlanePage:
        """Return up to ``size`` data planes, those after ``after_id``."""
        async with self._store.autocommit() as session:
            found = await session.execute(page(size, after_id))
        rows = [dict(row) for row in found.mappings()]
        if not rows:
            raise StoreUnavailable(NO_VERSION)
        first = rows[0]
        newest = VersionMark(first["epoch"], first["version"], first["committed_at"])
        return DataPlanePage(newest, [_row(row) for row in rows if row["id"] is not None])

    async def forget(self, id_: UUID) -> None:
        """Remove a data plane that has stopped."""
        async with self._store.autocommit() as session:
            await session.execute(delete(data_planes).where(data_planes.c.id == id_))

    async def purge(self, unseen_s: float) -> None:
        """Forget data planes that nobody has heard of for so long."""
        async with self._store.autocommit() as session:
            await session.execute(_PURGE.bindparams(unseen_s=unseen_s))


_REPORT = text("""
    INSERT INTO data_planes AS known (
        id, name, ip, software_version, first_seen_at, last_seen_at, applied_version,
        applied_committed_at, sync_status, labels, cert_expires_at, control_plane_id, health
    )
    SELECT
        id, name, ip, software_version, clock_timestamp(),
        clock_timestamp() - make_interval(secs => heard_ago_s), applied_version,
        applied_committed_at, sync_status, labels, cert_expires_at, control_plane_id, health
    FROM jsonb_to_recordset(CAST(:reports AS jsonb)) AS reported (
        id uuid, name text, ip text, software_version text, heard_ago_s double precision,
        applied_version bigint, applied_committed_at timestamptz, sync_status text, labels jsonb,
        cert_expires_at timestamptz, control_plane_id uuid, health jsonb
    )
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name,
        ip = excluded.ip,
        software_version = excluded.software_version,
        last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
        applied_version = excluded.applied_version,
        applied_committed_at = excluded.applied_committed_at,
        sync_status = excluded.sync_status,
        labels = excluded.labels,
        cert_expires_at = excluded.cert_expires_at,
        control_plane_id = excluded.control_plane_id,
        health = excluded.health
    WHERE known.control_plane_id = excluded.control_plane_id
        OR known.last_seen_at <= excluded.last_seen_at
""")
"""One JSON text, however many rows. Their order keeps two control planes from a deadlock. What was
heard earlier does not replace what another control plane has heard since; the writes of the same
one are in order, while times of arrival are blurred by how long each was on its way."""

_PURGE = text("""
    DELETE FROM data_planes WHERE id IN (
        SELECT id FROM data_planes
        WHERE last_seen_at < clock_timestamp() - make_interval(secs => :unseen_s)
        FOR UPDATE SKIP LOCKED
    )
""")


def report(reports: Sequence[DataPlaneReport]) -> Executable:
    """Return the statement that writes reports."""
    return _REPORT.bindparams(reports=json.dumps([_plain(report) for report in reports]))


def page(size: int, after_id: UUID | None) -> Executable:
    """Return the query for a page: a row per data plane, without any one row of NULLs."""
    is_further = true() if after_id is None else data_planes.c.id > after_id
    now = func.clock_timestamp(type_=TIMESTAMP(timezone=True))
    return (
        select(
            config_version.c.epoch,
            config_version.c.version,
            config_version.c.committed_at,
            now.label("now"),
            data_planes,
        )
        .select_from(config_version.outerjoin(data_planes, is_further))
        .order_by(data_planes.c.id)
        .limit(bindparam("size", size))
    )


def _plain(report: DataPlaneReport) -> dict[str, Any]:
    return {
        "id": str(report.id),
        "name": report.name,
        "ip": report.ip,
        "software_version": report.software_version,
        "heard_ago_s": report.heard_ago_s,
        "applied_version": report.applied_version,
        "applied_committed_at": _iso(report.applied_committed_at),
        "sync_status": report.sync_status,
        "labels": dict(report.labels),
        "cert_expires_at": _iso(report.cert_expires_at),
        "control_plane_id": str(report.control_plane_id),
        "health": report.health,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _row(row: Mapping[str, Any]) -> DataPlaneRow:
    columns = {column.name: row[column.name] for column in data_planes.columns}
    return DataPlaneRow(**columns, age_s=(row["now"] - row["last_seen_at"]).total_seconds())

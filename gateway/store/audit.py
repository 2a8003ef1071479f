"""The audit log as it is read; the triggers of the entity tables write it (see migration 0004)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, tuple_

from gateway.store.store import Store
from gateway.store.tables import audit

Columns = Mapping[str, Any]
"""A row as JSON: column name to value."""

ENTRIES_AT_ONCE = 50
"""Entries read in one go: a stop of the event loop of about a millisecond."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What became of one entity in one statement; as to its fields see `tables.audit`."""

    id: int
    version: int | None
    kind: str
    entity_id: UUID
    operation: str
    occurred_at: datetime
    token: str | None
    address: str | None
    request_id: str | None
    db_role: str
    changed: list[str] | None
    before: Columns | None
    after: Columns | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Values that columns have, and a time from ``since`` on and before ``until``."""

    where: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None


class AuditLog:
    """The table of entries. All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, id_: int) -> AuditEntry | None:
        """Return one entry."""
        found = await self._read(select(audit).where(audit.c.id == id_))
        return found[0] if found else None

    async def page(
        self, wanted: AuditFilter, size: int, after_id: int | None = None
    ) -> list[AuditEntry]:
        """Return up to ``size`` entries, the newest first, those after ``after_id`` in this order.

        There are none after one that was pruned.
        """
        last = None if after_id is None else await self.get(after_id)
        if after_id is not None and last is None:
            return []
        found: list[AuditEntry] = []
        while len(found) < size:
            limit = min(size - len(found), ENTRIES_AT_ONCE)
            some = await self._read(_newest(wanted, last).limit(limit))
            found += some
            if len(some) < limit:
                break
            last = some[-1]
        return found

    async def _read(self, query: Select[Any]) -> list[AuditEntry]:
        async with self._store.autocommit() as session:
            rows = (await session.execute(query, audit)).mappings()
            return [AuditEntry(**row) for row in rows]


def _newest(wanted: AuditFilter, last: AuditEntry | None) -> Select[Any]:
    """Return the query for entries after ``last``, which every index on the table has in order."""
    query = select(audit).where(*(audit.c[name] == value for name, value in wanted.where.items()))
    if wanted.since is not None:
        query = query.where(audit.c.occurred_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit.c.occurred_at < wanted.until)
    if last is not None:
        query = query.where(
            tuple_(audit.c.occurred_at, audit.c.id) < tuple_(last.occurred_at, last.id)
        )
    return query.order_by(audit.c.occurred_at.desc(), audit.c.id.desc())

"""The audit log as it is read; the triggers of the entity tables write it (see migration 0004)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, tuple_

from gateway.store.paging import Columns as PageColumns
from gateway.store.paging import read_page
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


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, and whether there are more after them (see `Page`)."""

    entries: list[AuditEntry]
    has_more: bool


class AuditLog:
    """The table of entries. All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, id_: int) -> AuditEntry | None:
        """Return one entry."""
        found = await self._read(select(audit).where(audit.c.id == id_))
        return AuditEntry(**found[0]) if found else None

    async def page(self, wanted: AuditFilter, size: int, after_id: int | None = None) -> AuditPage:
        """Return up to ``size`` entries, the newest first, those after ``after_id`` in this order.

        There are none after one that was pruned. Of large ones there are fewer on a page.
        """
        last = None if after_id is None else await self.get(after_id)
        if after_id is not None and last is None:
            return AuditPage([], has_more=False)
        start = None if last is None else (last.occurred_at, last.id)

        def rest(found: Sequence[Columns]) -> Select[Any]:
            place = (found[-1]["occurred_at"], found[-1]["id"]) if found else start
            return _entries(wanted, place)

        page = await read_page(self._read, rest, _newest, size, ENTRIES_AT_ONCE)
        return AuditPage([AuditEntry(**row) for row in page.rows], page.has_more)

    async def _read(self, query: Select[Any]) -> list[dict[str, Any]]:
        async with self._store.autocommit() as session:
            return [dict(row) for row in (await session.execute(query, audit)).mappings()]


def _entries(wanted: AuditFilter, after: tuple[datetime, int] | None) -> Select[Any]:
    """Return the query for entries after a place, in the order that every index has them in."""
    query = select(audit).where(*(audit.c[name] == value for name, value in wanted.where.items()))
    if wanted.since is not None:
        query = query.where(audit.c.occurred_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit.c.occurred_at < wanted.until)
    if after is not None:
        query = query.where(tuple_(audit.c.occurred_at, audit.c.id) < tuple_(*after))
    return query.order_by(*_newest(audit.c))


def _newest(columns: PageColumns) -> Sequence[ColumnElement[Any]]:
    return columns.occurred_at.desc(), columns.id.desc()

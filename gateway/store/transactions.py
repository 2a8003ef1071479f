"""Reading and writing entities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from gateway.entities import Row
from gateway.entities.entity_type import EXPIRY_COLUMN
from gateway.store.actor import Actor
from gateway.store.errors import NO_VERSION, StoreUnavailable
from gateway.store.session import Session
from gateway.store.tables import ENTITY_TABLES, config_version

_BEGIN = select(
    config_version.c.version, func.set_config("gateway.actor", bindparam("actor"), True)
).with_for_update(key_share=True)
"""Locks the version, and tells the triggers who asks."""


@dataclass(frozen=True, slots=True)
class Having:
    """Stands for every list that has this element."""

    element: Any


class ReadTransaction:
    """Reads entities, each statement as of the moment it runs; those expired are not there."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, table: str, column: str, value: Any) -> Row | None:
        """Return the entity whose unique column has this value."""
        return await self.find(table, {column: value})

    async def find(self, table: str, where: Mapping[str, Any]) -> Row | None:
        """Return an entity that has the given values in its columns.

        None stands for NULL, a tuple for any of its members, `Having` for a list with an element.
        """
        entities = ENTITY_TABLES[table]
        query = select(entities).where(*_conditions(entities, where)).limit(1)
        rows = await self._rows(query, entities, where)
        return rows[0] if rows else None

    async def page(
        self,
        table: str,
        *,
        size: int,
        after_id: UUID | None = None,
        where: Mapping[str, Any] | None = None,
        tags_all: Sequence[str] = (),
        tags_any: Sequence[str] = (),
    ) -> list[Row]:
        """Return up to ``size`` entities in the order of their ids, those after ``after_id``.

        ``where`` is as for `find`.
        """
        entities = ENTITY_TABLES[table]
        query = select(entities).where(*_conditions(entities, where or {}))
        if after_id is not None:
            query = query.where(entities.c.id > after_id)
        if tags_all:
            query = query.where(entities.c.tags.contains(list(tags_all)))
        if tags_any:
            query = query.where(entities.c.tags.overlap(list(tags_any)))
        asked = {**(where or {}), "tags": [*tags_all, *tags_any]}
        return await self._rows(query.order_by(entities.c.id).limit(size), entities, asked)

    async def _rows(self, statement: Executable, table: Table, row: Mapping[str, Any]) -> list[Row]:
        result = await self._session.execute(statement, table, row)
        return [dict(found) for found in result.mappings()]


class WriteTransaction(ReadTransaction):
    """Reads and writes entities; other write transactions wait until this one is over.

    ``version`` is, once the transaction is committed, the version it made: the one before if it
    changed nothing.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.version = 0
        self._has_changed = False

    async def begin(self, actor: Actor | None) -> None:
        """Wait for the write transactions before this one. ``Store.write`` does it."""
        who = "" if actor is None else actor.as_json()
        row = (await self._session.execute(_BEGIN.params(actor=who))).one_or_none()
        if row is None:
            raise StoreUnavailable(NO_VERSION)
        self.version = row.version

    async def commit(self) -> None:
        """Commit, which is when triggers publish the version. ``Store.write`` does it."""
        await self._session.commit()
        self.version += self._has_changed

    async def insert(self, table: str, row: Row) -> Row:
        """Add an entity and return it as stored.

        Raises PrimaryKeyConflict, UniqueConflict, ForeignKeyMissing, UnstorableValue.
        """
        entities = ENTITY_TABLES[table]
        await self._purge(entities)
        statement = insert(entities).values(row).returning(entities)
        (stored,) = await self._rows(statement, entities, row)
        self._has_changed = True
        return stored

    async def update(self, table: str, id: UUID, values: Row) -> Row | None:  # noqa: A002
        """Set columns of an entity; return it as stored, None if there is none with this id.

        Raises UniqueConflict, ForeignKeyMissing, UnstorableValue.
        """
        entities = ENTITY_TABLES[table]
        known = values | await self._rest_of_uniques(entities, id, values)
        statement = update(entities).where(entities.c.id == id).values(values).returning(entities)
        stored = await self._rows(statement, entities, known)
        self._has_changed |= bool(stored)
        return stored[0] if stored else None

    async def insert_all(self, table: str, rows: Sequence[Row]) -> None:
        """Add entities that are known to be free of conflicts, in one statement."""
        if rows:
            entities = ENTITY_TABLES[table]
            await self._session.execute(insert(entities).values(rows), entities, rows[0])
            self._has_changed = True

    async def delete(self, table: str, *ids: UUID) -> bool:
        """Remove entities, and what the schema cascades to; return whether there was one.

        Raises StillReferenced.
        """
        entities = ENTITY_TABLES[table]
        statement = delete(entities).where(entities.c.id.in_(ids))
        result = await self._session.execute(statement, entities)
        was_there = result.rowcount > 0
        self._has_changed |= was_there
        return was_there

    async def _purge(self, table: Table) -> None:
        """Remove what has expired, so that it is in nobody's way."""
        expiry = table.c.get(EXPIRY_COLUMN)
        if expiry is not None:
            purged = await self._session.execute(delete(table).where(expiry <= func.now()), table)
            self._has_changed |= purged.rowcount > 0

    async def _rest_of_uniques(self, table: Table, id: UUID, values: Row) -> Row:  # noqa: A002
        """Return the stored part of composite uniques that are half given, to name conflicts."""
        touched = [names for names in _composite_uniques(table) if names & values.keys()]
        missing = set().union(*touched) - values.keys()
        if not missing:
            return {}
        stored = await self.get(table.name, "id", id) or {}
        return {name: stored.get(name) for name in missing}


def _conditions(table: Table, where: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    conditions = [_condition(table.c[name], value) for name, value in where.items()]
    expiry = table.c.get(EXPIRY_COLUMN)
    if expiry is not None:
        conditions.append(or_(expiry.is_(None), expiry > func.now()))
    return conditions


def _condition(column: Column[Any], value: Any) -> ColumnElement[bool]:
    condition: ColumnElement[bool]
    match value:
        case tuple():
            condition = column.in_(value)
        case Having(element):
            condition = column.contains([element])
        case _:
            condition = column == value
    return condition


def _composite_uniques(table: Table) -> Iterator[set[str]]:
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and len(constraint.columns) > 1:
            yield set(constraint.columns.keys())

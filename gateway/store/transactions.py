"""Reading and writing entities."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Select,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from gateway.entities import Row
from gateway.entities.entity_type import EXPIRY_COLUMN
from gateway.store.actor import Actor
from gateway.store.errors import NO_VERSION, StoreError, StoreUnavailable
from gateway.store.paging import Columns, Page, read_page
from gateway.store.session import Session
from gateway.store.tables import VERSIONED_TABLES, config_version

_BEGIN = select(
    config_version.c.version, func.set_config("gateway.actor", bindparam("actor"), True)
).with_for_update(key_share=True)
"""Locks the version, and tells the triggers who asks."""


ROWS_AT_ONCE = 200
"""Rows read in one go: a stop of the event loop of about a millisecond."""

_INSERT_MANY = """
    INSERT INTO {table} ({columns})
    SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb))
"""
_UPDATE_MANY = """
    UPDATE {table} SET ({columns}) = ROW({given})
    FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb)) AS given
    WHERE {table}.id = given.id
"""


@dataclass(frozen=True, slots=True)
class Having:
    """Stands for every list that has this element."""

    element: Any


@dataclass(frozen=True, slots=True)
class Containing:
    """Stands for every JSON value that has all that is in this one."""

    part: Any


class ReadTransaction:
    """Reads entities, each statement as of the moment it runs; those expired are not there."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, table: str, column: str, value: Any) -> Row | None:
        """Return the entity whose unique column has this value."""
        return await self.find(table, {column: value})

    async def find(self, table: str, where: Mapping[str, Any]) -> Row | None:
        """Return an entity that has the given values in its columns.

        None stands for NULL, a tuple for any of its members, `Having` for a list with an element,
        `Containing` for JSON with a part.
        """
        entities = VERSIONED_TABLES[table]
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
    ) -> Page:
        """Return up to ``size`` entities in the order of their ids, those after ``after_id``.

        ``where`` is as for `find`. Of large ones there are fewer on a page.
        """
        entities = VERSIONED_TABLES[table]
        query = select(entities).where(*_conditions(entities, where or {}))
        if tags_all:
            query = query.where(entities.c.tags.contains(list(tags_all)))
        if tags_any:
            query = query.where(entities.c.tags.overlap(list(tags_any)))

        def rest(found: Sequence[Row]) -> Select[Any]:
            last_id = found[-1]["id"] if found else after_id
            after = query if last_id is None else query.where(entities.c.id > last_id)
            return after.order_by(entities.c.id)

        asked = {**(where or {}), "tags": [*tags_all, *tags_any]}
        ask = partial(self._rows, table=entities, row=asked)
        return await read_page(ask, rest, lambda columns: (columns.id,), size, ROWS_AT_ONCE)

    async def newest(self, table: str, *, size: int, start: int, where: Mapping[str, Any]) -> Page:
        """Return up to ``size`` entities, the newest first, without the first ``start`` of them.

        ``where`` is as for `find`. Of large ones there are fewer on a page.
        """
        entities = VERSIONED_TABLES[table]
        query = select(entities).where(*_conditions(entities, where))

        def rest(found: Sequence[Row]) -> Select[Any]:
            return query.order_by(*_newest(entities.c)).offset(start + len(found))

        ask = partial(self._rows, table=entities, row=where)
        return await read_page(ask, rest, _newest, size, ROWS_AT_ONCE)

    async def has_more_than(self, table: str, number: int) -> bool:
        """Tell whether there are more than so many entities of a kind."""
        entities = VERSIONED_TABLES[table]
        some = select(entities.c.id).where(*_conditions(entities, {})).offset(number).limit(1)
        result = await self._session.execute(some, entities)
        return result.first() is not None

    async def all(self, table: str) -> list[Row]:
        """Return all entities of a kind: for a process whose event loop has nothing else to do."""
        entities = VERSIONED_TABLES[table]
        return await self._rows(select(entities).where(*_conditions(entities, {})), entities, {})

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
        entities = VERSIONED_TABLES[table]
        await self._purge(entities)
        statement = insert(entities).values(row).returning(entities)
        (stored,) = await self._rows(statement, entities, row)
        self._has_changed = True
        return stored

    async def update(self, table: str, id: UUID, values: Row) -> Row | None:  # noqa: A002
        """Set columns of an entity; return it as stored, None if there is none with this id.

        Raises UniqueConflict, ForeignKeyMissing, UnstorableValue.
        """
        entities = VERSIONED_TABLES[table]
        await self._purge(entities)
        known = values | await self._rest_of_uniques(entities, id, values)
        statement = update(entities).where(entities.c.id == id).values(values).returning(entities)
        stored = await self._rows(statement, entities, known)
        self._has_changed |= bool(stored)
        return stored[0] if stored else None

    async def insert_all(self, table: str, rows: Sequence[Row]) -> None:
        """Add entities that are known to be free of conflicts, in one statement."""
        if rows:
            entities = VERSIONED_TABLES[table]
            await self._session.execute(insert(entities).values(rows), entities, rows[0])
            self._has_changed = True

    async def insert_many(self, table: str, rows: Sequence[Row]) -> None:
        """Add entities in one statement, as fast as it goes.

        Raises what `insert` raises, for the first entity that cannot be added.
        """
        entities = VERSIONED_TABLES[table]
        await self._purge(entities)
        if not await self._succeeds(_INSERT_MANY, entities, rows):
            for row in rows:
                await self.insert(table, row)

    async def update_many(self, table: str, rows: Sequence[Row]) -> None:
        """Set all columns of entities in one statement; the ids tell of which.

        Raises what `update` raises, for the first entity that cannot be changed.
        """
        if not await self._succeeds(_UPDATE_MANY, VERSIONED_TABLES[table], rows):
            for row in rows:
                await self.update(table, row["id"], row)

    async def give_up_uniques(self, table: str, ids: Collection[UUID]) -> None:
        """Give entities random values in place of the unique ones, which others are to get.

        For those that are changed or deleted in the same transaction.
        """
        entities = VERSIONED_TABLES[table]
        random_text = cast(func.gen_random_uuid(), Text)
        values = dict.fromkeys(_unique_texts(entities), random_text)
        statement = update(entities).where(entities.c.id.in_(ids)).values(values)
        await self._session.execute(statement, entities)
        self._has_changed = True

    async def _succeeds(self, statement: str, table: Table, rows: Sequence[Row]) -> bool:
        """Run a statement with rows as JSON; undo it if one of them is refused."""
        columns = [column.name for column in table.columns]
        names = {
            "table": table.name,
            "columns": ", ".join(f'"{name}"' for name in columns),
            "given": ", ".join(f'given."{name}"' for name in columns),
        }
        encoded = json.dumps(rows, default=_as_json, ensure_ascii=False)
        await self._session.execute(text("SAVEPOINT many"))
        try:
            filled = text(statement.format(**names)).bindparams(rows=encoded)
            await self._session.execute(filled, table)
        except StoreUnavailable:
            raise
        except StoreError:
            await self._session.execute(text("ROLLBACK TO SAVEPOINT many"))
            return False
        await self._session.execute(text("RELEASE SAVEPOINT many"))
        self._has_changed |= bool(rows)
        return True

    async def delete(self, table: str, *ids: UUID) -> bool:
        """Remove entities, and what the schema cascades to; return whether there was one.

        Raises StillReferenced.
        """
        entities = VERSIONED_TABLES[table]
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


def _newest(columns: Columns) -> Sequence[ColumnElement[Any]]:
    return columns.created_at.desc(), columns.id.desc()


def _condition(column: Column[Any], value: Any) -> ColumnElement[bool]:
    condition: ColumnElement[bool]
    match value:
        case tuple():
            condition = column.in_(value)
        case Having(element):
            condition = column.contains([element])
        case Containing(part):
            condition = column.contains(part)
        case _:
            condition = column == value
    return condition


def _as_json(value: UUID | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _unique_texts(table: Table) -> Iterator[str]:
    """Yield a column of text for each unique combination."""
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield next(c.name for c in constraint.columns if isinstance(c.type, Text))


def _composite_uniques(table: Table) -> Iterator[set[str]]:
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and len(constraint.columns) > 1:
            yield set(constraint.columns.keys())

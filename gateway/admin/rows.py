"""What the Admin API does to rows inside a transaction of the store.

Semantics of upsert and patch: reference sheet admin-api.md, sections 3.1 and 3.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from gateway.admin.errors import (
    invalid_primary_key,
    invalid_unique,
    missing_entity,
    unresolved_references,
)
from gateway.admin.query import EVERY_TAG, TagFilter
from gateway.entities import EntityType, Given, Operation, Reference, Row
from gateway.entities.entity import Entity
from gateway.entities.types import parse_uuid
from gateway.store.paging import Page
from gateway.store.transactions import ReadTransaction, WriteTransaction

Where = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """How a URL names an entity: by ``id``, or by its endpoint key."""

    field: str
    value: UUID | str


class Rows:
    """The rows of one kind of entity; a subclass says what is different about its kind."""

    def __init__(self, entity_type: EntityType) -> None:
        self.type = entity_type
        self.table = entity_type.table

    def key(self, segment: str) -> Key:
        """Return what a URL's segment names. Raises an answer if nothing can be called so."""
        if (id_ := parse_uuid(segment)) is not None:
            return Key("id", id_)
        field = self.type.endpoint_key
        if field is None:
            raise invalid_primary_key(segment)
        if (problem := self.type.problem_with(field, segment)) is not None:
            raise invalid_unique(field, problem)
        return Key(field, segment)

    def to_api(self, row: Row) -> dict[str, Any]:
        """Return a row as the API writes it, ready for JSON."""
        return self.type.to_api(row)

    async def find(self, transaction: ReadTransaction, key: Key, where: Where) -> Row | None:
        """Return the named row if it is one of those ``where`` selects."""
        return await transaction.find(self.table, {**where, key.field: key.value})

    async def current(self, transaction: ReadTransaction, key: Key, entity: Entity) -> Row | None:
        """Return the row that an upsert would replace by the entity."""
        del entity
        return await self.find(transaction, key, {})

    async def find_page(
        self,
        transaction: ReadTransaction,
        size: int,
        *,
        after: UUID | None = None,
        where: Where,
        tags: TagFilter = EVERY_TAG,
    ) -> Page:
        """Return up to ``size`` rows in the order of their ids, those after ``after``."""
        return await transaction.page(
            self.table,
            size=size,
            after_id=after,
            where=where,
            tags_all=tags.all,
            tags_any=tags.any,
        )

    async def insert(self, transaction: WriteTransaction, entity: Entity) -> Row:
        """Store a new entity."""
        row = await resolved_row(transaction, self.type, entity)
        return await transaction.insert(self.table, row)

    async def upsert(self, transaction: WriteTransaction, key: Key, entity: Entity) -> Row:
        """Store the entity in place of the named one, which keeps its id, or as a new one."""
        row = await resolved_row(transaction, self.type, entity)
        stored = await self.current(transaction, key, entity)
        if stored is None:
            return await transaction.insert(self.table, row)
        return await self._update(transaction, stored["id"], row)

    async def patch(self, transaction: WriteTransaction, stored: Row, given: Given) -> Row:
        """Lay ``given`` (expanded) over the stored row; the result must be valid as a whole."""
        changes = {name: value for name, value in given.items() if name != "id"}
        merged = self.type.merge(self.type.to_api(stored), changes)
        merged.pop("updated_at", None)
        entity = await validated(self.type, merged, "update")
        row = await resolved_row(transaction, self.type, entity)
        changed = self.type.fields.keys() & {*changes, "updated_at"}
        columns = (self.type.fields[name].column for name in changed)
        values = {column: row[column] for column in columns}
        return await self._update(transaction, stored["id"], values) if values else stored

    async def delete(self, transaction: WriteTransaction, stored: Row) -> None:
        """Remove a stored row."""
        await transaction.delete(self.table, stored["id"])

    async def _update(self, transaction: WriteTransaction, id_: UUID, values: Row) -> Row:
        values = {column: value for column, value in values.items() if column != "id"}
        stored = await transaction.update(self.table, id_, values)
        if stored is None:
            raise missing_entity("id", id_)
        return stored


async def validated(
    entity_type: EntityType, given: Given, operation: Operation = "create"
) -> Entity:
    """Validate beside the event loop: thousands of patterns to compile must not stop the proxy."""
    return await asyncio.to_thread(entity_type.validate, given, operation)


async def resolved_row(
    transaction: ReadTransaction, entity_type: EntityType, entity: Entity
) -> Row:
    """Return the entity as a row, its references by name turned into ids."""
    row = entity_type.to_row(entity)
    unresolved: dict[str, tuple[str, str, str]] = {}
    for name, foreign_key in entity_type.foreign_keys.items():
        reference: Reference | None = getattr(entity, name)
        if reference is not None and reference.field != "id":
            parent = await transaction.get(foreign_key.table, reference.field, reference.value)
            row[entity_type.fields[name].column] = parent and parent["id"]
            if parent is None:
                unresolved[name] = (reference.field, str(reference.value), foreign_key.table)
    if unresolved:
        raise unresolved_references(unresolved)
    return row

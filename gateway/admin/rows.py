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
    invalid_unique,
    missing_entity,
    missing_reference,
    unresolved_references,
)
from gateway.admin.query import EVERY_TAG, TagFilter
from gateway.entities import ENTITIES, EntityType, Given, Reference, Row
from gateway.entities.entity import Entity
from gateway.entities.types import parse_uuid
from gateway.store.transactions import ReadTransaction, WriteTransaction

Where = Mapping[str, Any]

ROWS_AT_ONCE = 200
"""Rows read in one go: a stop of the event loop of about a millisecond."""


@dataclass(frozen=True, slots=True)
class Key:
    """How a URL names an entity: by ``id``, or by its endpoint key."""

    field: str
    value: UUID | str


def key_of(entity_type: EntityType, segment: str) -> Key:
    """Return what a URL's segment names. Raises an answer if nothing can be called so."""
    if (id_ := parse_uuid(segment)) is not None:
        return Key("id", id_)
    field = entity_type.endpoint_key
    if (problem := entity_type.problem_with(field, segment)) is not None:
        raise invalid_unique(field, problem)
    return Key(field, segment)


async def find(
    transaction: ReadTransaction, entity_type: EntityType, key: Key, where: Where
) -> Row | None:
    """Return the named row if it is one of those ``where`` selects."""
    return await transaction.find(entity_type.table, {**where, key.field: key.value})


async def find_many(
    transaction: ReadTransaction,
    entity_type: EntityType,
    limit: int,
    *,
    after: UUID | None = None,
    where: Where,
    tags: TagFilter = EVERY_TAG,
) -> list[Row]:
    """Return up to ``limit`` rows in the order of their ids, those after ``after``."""
    found: list[Row] = []
    while len(found) < limit:
        size = min(limit - len(found), ROWS_AT_ONCE)
        some = await transaction.page(
            entity_type.table,
            size=size,
            after_id=found[-1]["id"] if found else after,
            where=where,
            tags_all=tags.all,
            tags_any=tags.any,
        )
        found += some
        if len(some) < size:
            break
    return found


async def validated(entity_type: EntityType, given: Given) -> Entity:
    """Validate beside the event loop: thousands of patterns to compile must not stop the proxy."""
    return await asyncio.to_thread(entity_type.validate, given)


async def insert(transaction: WriteTransaction, entity_type: EntityType, entity: Entity) -> Row:
    """Store a new entity."""
    row = await resolved_row(transaction, entity_type, entity)
    return await transaction.insert(entity_type.table, row)


async def upsert(
    transaction: WriteTransaction, entity_type: EntityType, key: Key, entity: Entity
) -> Row:
    """Store the entity in place of the named one, which keeps its id, or as a new one."""
    row = await resolved_row(transaction, entity_type, entity)
    stored = await find(transaction, entity_type, key, {})
    if stored is None:
        return await transaction.insert(entity_type.table, row)
    return await _update(transaction, entity_type, stored["id"], row)


async def patch(
    transaction: WriteTransaction, entity_type: EntityType, stored: Row, given: Given
) -> Row:
    """Lay ``given`` (expanded) over the stored row; the result must be valid as a whole."""
    changes = {name: value for name, value in given.items() if name != "id"}
    merged = entity_type.merge(entity_type.to_api(stored), changes)
    del merged["updated_at"]
    row = await resolved_row(transaction, entity_type, await validated(entity_type, merged))
    changed = {entity_type.fields[name].column for name in changes} | {"updated_at"}
    values = {column: row[column] for column in changed}
    return await _update(transaction, entity_type, stored["id"], values)


async def resolved_row(
    transaction: ReadTransaction, entity_type: EntityType, entity: Entity
) -> Row:
    """Return the entity as a row, its references by name turned into ids."""
    row = entity_type.to_row(entity)
    unresolved: dict[str, tuple[str, str, str]] = {}
    for name, foreign_key in entity_type.foreign_keys.items():
        reference: Reference | None = getattr(entity, name)
        if reference is None:
            continue
        if foreign_key.table not in ENTITIES:
            raise missing_reference(name, reference.value, foreign_key.table)
        if reference.field != "id":
            parent = await transaction.get(foreign_key.table, reference.field, reference.value)
            row[entity_type.fields[name].column] = parent and parent["id"]
            if parent is None:
                unresolved[name] = (reference.field, str(reference.value), foreign_key.table)
    if unresolved:
        raise unresolved_references(unresolved)
    return row


async def _update(
    transaction: WriteTransaction, entity_type: EntityType, id_: UUID, values: Row
) -> Row:
    values = {column: value for column, value in values.items() if column != "id"}
    stored = await transaction.update(entity_type.table, id_, values)
    if stored is None:
        raise missing_entity("id", id_)
    return stored

"""The ids of entities that a file gives none: the same file gives the same ids, as Kong's does.

Reference sheet decl-config.md, section A2.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID, uuid4, uuid5

from gateway.entities import EntityField, EntityType, Given

_ENTITIES = UUID("fd02801f-0957-4a15-a55a-c8d9606f30b5")


def generated_id(entity_type: EntityType, given: Given, above: Mapping[str, UUID]) -> UUID:
    """Return the id of an entity as it stands in a file; a random one if it has no key.

    ``above`` are the ids of the parents it stands below, by the field that refers to them.
    """
    key = _key(entity_type, given, above)
    return uuid4() if key is None else uuid5(_namespace(entity_type.table), key)


@cache
def _namespace(table: str) -> UUID:
    return uuid5(_ENTITIES, table)


def _key(entity_type: EntityType, given: Given, above: Mapping[str, UUID]) -> str | None:
    name = given.get(entity_type.endpoint_key or "")
    if entity_type.endpoint_key and isinstance(name, str):
        unique = entity_type.fields[entity_type.endpoint_key].unique
        return name if unique else _within_parents(name, entity_type, given, above)
    if entity_type.composite_uniques:
        return _composite(entity_type, given, above)
    return None


def _within_parents(
    name: str, entity_type: EntityType, given: Given, above: Mapping[str, UUID]
) -> str | None:
    parts: list[str | None] = [name]
    for field, foreign_key in entity_type.foreign_keys.items():
        if foreign_key.on_delete == "cascade":
            parts.append(_part(entity_type.fields[field], given, above))
    return _joined(parts)


def _composite(entity_type: EntityType, given: Given, above: Mapping[str, UUID]) -> str | None:
    fields = (entity_type.fields[name] for name in entity_type.composite_uniques[0])
    return _joined([entity_type.table, *(_part(field, given, above) for field in fields)])


def _part(field: EntityField, given: Given, above: Mapping[str, UUID]) -> str | None:
    """Return a field's part of the key, None if it cannot be told."""
    if field.name in above:
        return str(above[field.name])
    value: Any = given.get(field.name)
    if field.references and isinstance(value, dict):
        value = next((value[name] for name in ("id", *value) if value.get(name)), None)
    if isinstance(value, str):
        return value
    return "" if value is None and field.nullable else None


def _joined(parts: list[str | None]) -> str | None:
    known = [part for part in parts if part is not None]
    return ":".join(known) if len(known) == len(parts) else None

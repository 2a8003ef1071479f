"""What makes an entity the same one: the fields whose values only one entity may have.

Reference sheets entities.md, section 4, and decl-config.md, section C5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from gateway.entities import ENTITIES, EntityField, EntityType, Row

_NAMES = ("name", "username", "custom_id", "target", "group")


def name_in(entity_type: EntityType, values: Mapping[str, Any]) -> str | None:
    """Return what people call an entity that has these values; None if it has no name.

    Keys of credentials are names as well, but secret ones.
    """
    names = (name for name in _NAMES if name in entity_type.fields and values.get(name))
    return next((str(values[name]) for name in names), None)


@cache
def unique_keys(table: str) -> Sequence[Sequence[EntityField]]:
    """Return the unique combinations of fields, the one that says most first."""
    entity_type = ENTITIES[table]
    composite = [[entity_type.fields[n] for n in names] for names in entity_type.composite_uniques]
    return [*composite, *([field] for field in entity_type.fields.values() if field.unique)]


def key_of(fields: Sequence[EntityField], row: Row) -> tuple[Any, ...] | None:
    """Return a row's values of a unique combination, None if several rows may have them."""
    values = tuple(row[field.column] for field in fields)
    return None if values == (None,) else values

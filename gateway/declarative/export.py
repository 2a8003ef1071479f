"""Rows as a flat document, as ``kong config db_export`` writes it.

Every field with its ids and times, references as ids, parents first. Reference sheet
decl-config.md, section A4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gateway.declarative.state import State
from gateway.entities import ENTITIES, EntityType, Row
from gateway.entities.credentials import BASICAUTH_CREDENTIALS
from gateway.entities.password import KONG_PREFIX
from gateway.entities.upstream import UPSTREAMS


def flat_document(state: State, select_tags: Collection[str] = ()) -> dict[str, Any]:
    """Return all entities, or those that have all of the tags."""
    wanted = set(select_tags)
    document: dict[str, Any] = {"_format_version": "3.0", "_transform": False}
    for table, entity_type in ENTITIES.items():
        rows = sorted(state.rows[table].values(), key=lambda row: str(row["id"]))
        section = [_entity(entity_type, row) for row in rows if wanted <= set(row["tags"] or ())]
        if section:
            document[table] = section
    return document


def _entity(entity_type: EntityType, row: Row) -> dict[str, Any]:
    entity = entity_type.to_api(row)
    for name in entity_type.foreign_keys:
        if entity[name] is not None:
            entity[name] = entity[name]["id"]
    if entity_type is BASICAUTH_CREDENTIALS:  # `_transform: false` tells what form it is
        entity["password"] = entity["password"].removeprefix(KONG_PREFIX)
    if entity_type is UPSTREAMS and _would_lose_its_algorithm(entity):
        del entity["hash_on"]
    return entity


def _would_lose_its_algorithm(upstream: Mapping[str, Any]) -> bool:
    """Tell whether ``hash_on``, if it is written, says another algorithm (entities.md, 3.3)."""
    return upstream["hash_on"] == "none" and upstream["algorithm"] in (None, "consistent-hashing")

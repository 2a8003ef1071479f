"""A flat document as people keep it in a repository, in the manner of decK's ``dump``.

Children stand in what they belong to, names stand for ids, times are left out, and tags that select
the whole are said once. Reference sheet decl-config.md, section B2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gateway.declarative.keys import unique_keys
from gateway.entities import ENTITIES, EntityType
from gateway.entities.credentials import BASICAUTH_CREDENTIALS
from gateway.entities.password import KONG_PREFIX, is_kept
from gateway.entities.route import ROUTES
from gateway.entities.types import parse_uuid

Entity = dict[str, Any]


def nested_document(
    flat: Mapping[str, Any], select_tags: Collection[str] = (), *, with_id: bool = False
) -> dict[str, Any]:
    """Return the same configuration, nested.

    ``select_tags`` are tags that every entity has; ``with_id`` keeps all ids.
    """
    return _Nesting(flat, select_tags, with_id=with_id).document()


class _Nesting:
    def __init__(
        self, flat: Mapping[str, Any], select_tags: Collection[str], *, with_id: bool
    ) -> None:
        self._flat = flat
        self._select_tags = select_tags
        self._with_id = with_id
        self._by_id = {
            (table, entity["id"]): entity for table in ENTITIES for entity in flat.get(table, ())
        }
        self._children: dict[tuple[str, str], dict[str, list[Entity]]] = {}

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"_format_version": self._flat["_format_version"]}
        if self._select_tags:
            document["_info"] = {"select_tags": list(self._select_tags)}
        top = {table: self._without_owner(table) for table in ENTITIES}
        for table, entities in top.items():
            if entities:
                document[table] = self._written(table, entities, owner=None)
        return document

    def _without_owner(self, table: str) -> list[Entity]:
        """Return the entities of the top level; the others are put down as children."""
        top = []
        for entity in self._flat.get(table, ()):
            owner = self._owner(ENTITIES[table], entity)
            if owner is None:
                top.append(entity)
            else:
                self._children.setdefault(owner, {}).setdefault(table, []).append(entity)
        return top

    def _owner(self, entity_type: EntityType, entity: Entity) -> tuple[str, str] | None:
        """Return the one entity of the document that this one belongs to, None if there is none."""
        owners = [
            (foreign_key.table, entity[name])
            for name, foreign_key in entity_type.foreign_keys.items()
            if entity[name] is not None
            and (foreign_key.on_delete == "cascade" or entity_type is ROUTES)
        ]
        return owners[0] if len(owners) == 1 and owners[0] in self._by_id else None

    def _written(self, table: str, entities: list[Entity], owner: str | None) -> list[Entity]:
        in_order = sorted(entities, key=lambda entity: self._rank(table, entity))
        return [self._entity(table, entity, owner) for entity in in_order]

    def _rank(self, table: str, entity: Entity) -> tuple[str, ...]:
        """Return what entities are sorted by: names first, ids only where there are none."""
        keys = (field.name for fields in unique_keys(table) for field in fields)
        names = (self._value(ENTITIES[table], key, entity[key]) for key in keys)
        return (_name(table, entity) or "", *(str(name or "") for name in names), entity["id"])

    def _entity(self, table: str, entity: Entity, owner: str | None) -> Entity:
        entity_type = ENTITIES[table]
        written = {
            name: self._value(entity_type, name, value)
            for name, value in entity.items()
            if not self._is_left_out(entity_type, name, entity, owner)
        }
        for child, children in self._children.get((table, entity["id"]), {}).items():
            written[child] = self._written(child, children, owner=table)
        return written

    def _is_left_out(
        self, entity_type: EntityType, name: str, entity: Entity, owner: str | None
    ) -> bool:
        field, value = entity_type.fields[name], entity[name]
        if name == "id":
            return not self._with_id and _is_known_by_name(entity_type, entity)
        if name in ("created_at", "updated_at"):
            return True
        if name == "tags":
            return not set(value or ()) - set(self._select_tags)
        if field.references and field.references.table == owner:
            return True
        return value is None and field.default is None

    def _value(self, entity_type: EntityType, name: str, value: Any) -> Any:
        field = entity_type.fields[name]
        if name == "tags":
            return [tag for tag in value if tag not in self._select_tags]
        if field.references and value is not None:
            parent = self._by_id.get((field.references.table, value))
            return (parent and _usable_name(field.references.table, parent)) or value
        if entity_type is BASICAUTH_CREDENTIALS and name == "password" and not is_kept(value):
            return KONG_PREFIX + value
        return value


def _name(table: str, entity: Entity) -> str | None:
    return entity.get(ENTITIES[table].endpoint_key or "")


def _usable_name(table: str, entity: Entity) -> str | None:
    """Return the name that a reference may use: one that does not look like an id."""
    name = _name(table, entity)
    return None if name is None or parse_uuid(name) else name


def _is_known_by_name(entity_type: EntityType, entity: Entity) -> bool:
    """Tell whether an entity will be found, and can be referred to, without its id."""
    if entity_type.endpoint_key is not None and _usable_name(entity_type.table, entity):
        return True
    is_referred_to = any(
        foreign_key.table == entity_type.table
        for other in ENTITIES.values()
        for foreign_key in other.foreign_keys.values()
    )
    return bool(entity_type.composite_uniques) and not is_referred_to

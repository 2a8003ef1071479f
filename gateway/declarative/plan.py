"""What must change in the database for it to be as a file declares.

An entity is the same one if it has the same id, else if it has the same unique values (reference
sheet decl-config.md, section C5), else, where it has none, if all else is equal. Then it keeps its
id, and whatever refers to it in the file follows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from gateway.declarative.checking import Declaration, dangling
from gateway.declarative.flat import MASK, Item
from gateway.declarative.keys import key_of, unique_keys
from gateway.declarative.problems import Problems
from gateway.declarative.state import State
from gateway.entities import ENTITIES, EntityField, EntityType, FieldKind, Reference, Row
from gateway.entities.ca_certificate import CA_CERTIFICATES
from gateway.entities.certificate import CERTIFICATES
from gateway.entities.errors import ENTITY
from gateway.entities.plugin import PLUGINS
from gateway.entities.service import SERVICES

_NOT_COMPARED = frozenset({"id", "created_at", "updated_at"})
_UNORDERED = frozenset({"tags", (SERVICES.table, "ca_certificates"), (PLUGINS.table, "protocols")})
"""Lists that are equal in any order (section C4)."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entity that is created, updated or deleted: its rows before and after."""

    type: EntityType
    before: Row | None
    after: Row | None
    columns: frozenset[str] = frozenset()

    @property
    def operation(self) -> Literal["create", "update", "delete"]:
        """What is done to it."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "update"

    @property
    def row(self) -> Row:
        """The row as it will be, or was."""
        return self.after or self.before or {}


@dataclass(slots=True)
class Plan:
    """The changes, parents first; deletions after all others, children first.

    ``yielding`` are rows by table that change or go, but have a unique value that another entity is
    to get before that: they have to give it up first.
    """

    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    yielding: dict[str, set[UUID]] = field(default_factory=dict)

    def of(self, table: str, operation: str) -> list[Change]:
        """Return the changes of one kind to one table."""
        return [c for c in self.changes if c.type.table == table and c.operation == operation]


def make_plan(declaration: Declaration, state: State) -> Plan:
    """Return what leads from the state to the declaration.

    Raises InvalidConfigError for what is in conflict with entities that the file is not about.
    """
    return _Planning(declaration, state).plan()


class _Planning:
    def __init__(self, declaration: Declaration, state: State) -> None:
        self._items = declaration.items
        self._select_tags = declaration.select_tags
        self._state = state
        self._problems = Problems()
        self._plan = Plan()
        self._ids: dict[Item, UUID] = {}
        self._stored: dict[Item, Row] = {}
        self._claimed: set[tuple[str, UUID]] = set()
        self._nameless: dict[str, dict[str, list[Row]]] = {}

    def plan(self) -> Plan:
        self._match_by_id()
        for item in self._items:
            self._take(item)
        self._delete_the_rest()
        self._refuse_lost_references()
        self._problems.raise_if_any()
        return self._plan

    # -- which row an entity is

    def _match_by_id(self) -> None:
        for item in self._items:
            stored = self._state.rows[item.type.table].get(item.id)
            if stored is None:
                continue
            if self._is_managed(stored):
                self._claim(item, stored)
            else:
                text = f"the entity with id '{item.id}' {self._is_outside()}"
                self._problems.add(item.place, {ENTITY: [text]}, item.culprit())

    def _match(self, item: Item, row: Row) -> None:
        """Find the stored row of an entity whose id is not known."""
        for stored in self._alike(item.type.table, row):
            if self._is_free(item.type.table, stored):
                self._claim(item, stored)
                return

    def _alike(self, table: str, row: Row) -> Iterator[Row]:
        """Yield the rows that may be the same entity, the likeliest first."""
        for fields in unique_keys(table):
            if (stored := self._state.sharing(table, fields, row)) is not None:
                yield stored
        if table == CERTIFICATES.table:
            yield from self._state.certificates_like(row)
        elif _is_nameless(table, row):
            yield from self._nameless_rows(table).get(_content(table, row), ())

    def _nameless_rows(self, table: str) -> Mapping[str, Sequence[Row]]:
        if table not in self._nameless:
            found: dict[str, list[Row]] = {}
            self._nameless[table] = found
            for row in self._state.rows[table].values():
                if _is_nameless(table, row):
                    found.setdefault(_content(table, row), []).append(row)
        return self._nameless[table]

    def _claim(self, item: Item, stored: Row) -> None:
        self._stored[item] = stored
        self._claimed.add((item.type.table, stored["id"]))

    def _is_free(self, table: str, stored: Row) -> bool:
        return self._is_managed(stored) and (table, stored["id"]) not in self._claimed

    def _is_managed(self, row: Row) -> bool:
        """Tell whether a row is one that the file is about."""
        return set(self._select_tags) <= set(row["tags"] or ())

    def _is_outside(self) -> str:
        return f"exists, but has not all of the selected tags: {', '.join(self._select_tags)}"

    # -- what is to become of it

    def _take(self, item: Item) -> None:
        row = self._with_final_references(item)
        if item not in self._stored:
            self._match(item, row)
        stored = self._stored.get(item)
        row["id"] = self._ids[item] = stored["id"] if stored else row["id"]
        if stored is None:
            self._add(item, Change(item.type, None, row))
            return
        row = row | {column: stored[column] for column in ("created_at", *item.left_to_server)}
        columns = _differences(item.type, stored, row)
        if columns:
            self._add(item, Change(item.type, stored, row, columns))
        else:
            self._plan.unchanged += 1

    def _with_final_references(self, item: Item) -> Row:
        row = dict(item.checked_row)
        for name in item.type.foreign_keys:
            column = item.type.fields[name].column
            if name in item.parents:
                row[column] = self._ids.get(item.parents[name])
            elif name in item.outside:
                row[column] = self._outside_id(item, name, item.outside[name])
        if item.type is SERVICES and row["ca_certificates"]:
            ours = {
                str(i.id): str(id_) for i, id_ in self._ids.items() if i.type is CA_CERTIFICATES
            }
            row["ca_certificates"] = [ours.get(id_, id_) for id_ in row["ca_certificates"]]
        return row

    def _outside_id(self, item: Item, name: str, reference: Reference) -> UUID | None:
        """Return the id of an entity that only the database has, and will keep."""
        table = item.type.foreign_keys[name].table
        row = self._state.named(table, reference.field, reference.value)
        if row is not None and not self._is_managed(row):
            id_: UUID = row["id"]
            return id_
        text = dangling(name, reference, table)
        self._problems.add(item.place, {name: text}, item.culprit())
        return None

    def _add(self, item: Item, change: Change) -> None:
        """Note a change, and who has to give way to it."""
        table, row = change.type.table, change.row
        for fields in unique_keys(table):
            other = self._state.sharing(table, fields, row)
            if other is None or other["id"] == row["id"]:
                continue
            if self._is_managed(other):
                self._plan.yielding.setdefault(table, set()).add(other["id"])
            else:
                text = f"'{table}' entity with {_shown(fields, row)} {self._is_outside()}"
                self._problems.add(item.place, {ENTITY: [text]}, item.culprit())
        self._plan.changes.append(change)

    def _delete_the_rest(self) -> None:
        for table in reversed(ENTITIES):
            self._plan.changes += (
                Change(ENTITIES[table], row, None)
                for row in self._state.rows[table].values()
                if self._is_free(table, row)
            )

    def _refuse_lost_references(self) -> None:
        """Refuse to delete what entities refer to that stay."""
        deleted = {(c.type.table, c.row["id"]) for c in self._plan.changes if c.after is None}
        texts = [
            f"'{target}' entity {id_} cannot be deleted: '{table}' entity {row['id']} refers to it"
            for table, row in self._staying()
            for target, id_ in _references(ENTITIES[table], row)
            if (target, id_) in deleted
        ]
        for number, text in enumerate(texts):
            self._problems.add((ENTITY, number), text)

    def _staying(self) -> Iterator[tuple[str, Row]]:
        for table, rows in self._state.rows.items():
            yield from ((table, row) for row in rows.values() if not self._is_managed(row))
        for item in self._items:
            if item.type is SERVICES and item.checked_row["ca_certificates"]:
                yield SERVICES.table, item.checked_row


def _references(entity_type: EntityType, row: Row) -> Iterator[tuple[str, UUID]]:
    for name, foreign_key in entity_type.foreign_keys.items():
        if (id_ := row[entity_type.fields[name].column]) is not None:
            yield foreign_key.table, id_
    if entity_type is SERVICES:
        yield from ((CA_CERTIFICATES.table, UUID(id_)) for id_ in row["ca_certificates"] or ())


def _shown(fields: Sequence[EntityField], row: Row) -> str:
    values = (MASK if field.secret else str(row[field.column]) for field in fields)
    return f"{', '.join(field.name for field in fields)} set to '{', '.join(values)}'"


# -- comparing


def _differences(entity_type: EntityType, stored: Row, row: Row) -> frozenset[str]:
    """Return the columns in which two rows of an entity differ."""
    return frozenset(
        f.column
        for f in entity_type.fields.values()
        if f.name not in _NOT_COMPARED
        and _comparable(entity_type.table, f, stored) != _comparable(entity_type.table, f, row)
    )


def _comparable(table: str, field: EntityField, row: Row) -> Any:
    value = row[field.column]
    if field.kind is FieldKind.EXPIRY:  # counts from when it was written first
        return value is None
    if field.name in _UNORDERED or (table, field.name) in _UNORDERED:
        return sorted(value or ())
    return value


def _is_nameless(table: str, row: Row) -> bool:
    return all(key_of(fields, row) is None for fields in unique_keys(table))


def _content(table: str, row: Row) -> str:
    """Return all that makes up an entity apart from its identity."""
    fields = ENTITIES[table].fields.values()
    values = {f.name: _comparable(table, f, row) for f in fields if f.name not in _NOT_COMPARED}
    return json.dumps(values, sort_keys=True, default=str)

"""A plan as people and programs read it: how many changes, and what each does to which fields."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gateway.declarative.flat import MASK
from gateway.declarative.keys import name_in
from gateway.declarative.plan import Change, Plan
from gateway.declarative.state import State
from gateway.entities import ENTITIES, EntityField
from gateway.entities.plugin import PLUGINS, shown_config

MOST_TOLD = 1000
"""Differences that are told one by one."""

_NOT_TOLD = frozenset({"id", "created_at", "updated_at"})

Difference = dict[str, Any]
Sides = tuple[Any, Any]
"""A value before a change, and after it."""


def summary(plan: Plan, state: State) -> dict[str, Any]:
    """Return the numbers of changes, and the first of them with their fields."""
    telling = _Telling(plan, state)
    operations = Counter(change.operation for change in plan.changes)
    tables: dict[str, Counter[str]] = {}
    for change in plan.changes:
        tables.setdefault(change.type.table, Counter())[change.operation] += 1
    return {
        "counts": {
            "create": operations["create"],
            "update": operations["update"],
            "delete": operations["delete"],
            "unchanged": plan.unchanged,
        },
        "entities": {table: dict(tables[table]) for table in ENTITIES if table in tables},
        "differences_total": len(plan.changes),
        "differences": [telling.tell(c) for c in itertools.islice(plan.changes, MOST_TOLD)],
    }


class _Telling:
    def __init__(self, plan: Plan, state: State) -> None:
        self._rows = {table: dict(rows) for table, rows in state.rows.items()}
        for change in plan.changes:
            if change.after is not None:
                self._rows[change.type.table][change.after["id"]] = change.after

    def tell(self, change: Change) -> Difference:
        """Return one change; ``of`` is the parent without which its name says little."""
        row = change.row
        told = {
            "operation": change.operation,
            "entity": change.type.table,
            "id": str(row["id"]),
            "name": name_in(change.type, row),
            "of": next(self._owners(change), None),
            "fields": dict(self._fields(change)),
        }
        return {key: value for key, value in told.items() if value is not None}

    def _owners(self, change: Change) -> Iterator[str]:
        for name, foreign_key in change.type.foreign_keys.items():
            if foreign_key.on_delete == "cascade":
                owner = self._shown(change.type.fields[name], change.row)
                if owner is not None:
                    yield str(owner)

    def _fields(self, change: Change) -> Iterator[tuple[str, Any]]:
        if change.after is None:
            return
        for field in change.type.fields.values():
            after = self._shown(field, change.after)
            if change.before is None:
                if field.name not in _NOT_TOLD and change.after[field.column] != field.default:
                    yield field.name, {"to": after}
            elif field.column in change.columns:
                raw = change.before[field.column], change.after[field.column]
                yield from _leaves(field.name, raw, (self._shown(field, change.before), after))

    def _shown(self, field: EntityField, row: dict[str, Any]) -> Any:
        value = row[field.column]
        if value is None:
            return None
        if field.secret:
            return MASK
        if field is PLUGINS.fields["config"]:
            return shown_config(row["name"], value)
        if field.references:
            parent = self._rows[field.references.table].get(value, {})
            return name_in(ENTITIES[field.references.table], parent) or str(value)
        return field.to_api(value)


def _leaves(name: str, raw: Sides, shown: Sides) -> Iterator[tuple[str, Any]]:
    """Yield what differs inside records, by dotted names, as it may be shown."""
    if not all(isinstance(side, dict) for side in (*raw, *shown)):
        yield name, {"from": shown[0], "to": shown[1]}
        return
    before, after = raw
    for key in before | after:
        if before.get(key) != after.get(key) or (key in before) != (key in after):
            yield from _leaves(f"{name}.{key}", _below(raw, key), _below(shown, key))


def _below(sides: Sides, key: str) -> Sides:
    return sides[0].get(key), sides[1].get(key)

"""An entry of the audit log as the Admin API writes it: entities look as they do elsewhere.

The database has masked the secret columns already. What of a plugin's ``config`` is secret only the
plugin knows, so that is masked here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from gateway.entities import ENTITIES, EntityField, FieldKind
from gateway.entities.plugin import PLUGINS, shown_config
from gateway.store.audit import AuditEntry, Columns

DEEPEST = 10
"""Levels of records within a field that are compared one by one."""


def entry_to_api(entry: AuditEntry) -> dict[str, Any]:
    """Return the entry ready for JSON."""
    return {
        "id": entry.id,
        "version": entry.version,
        "kind": entry.kind,
        "entity_id": str(entry.entity_id),
        "operation": entry.operation,
        "occurred_at": moment(entry.occurred_at),
        "token": entry.token,
        "address": entry.address,
        "request_id": entry.request_id,
        "db_role": entry.db_role,
        "changed": None if entry.changed is None else list(_changed(entry, entry.changed)),
        "before": _entity(entry, entry.before),
        "after": _entity(entry, entry.after),
    }


def moment(time: datetime) -> str:
    """Return a time as the filters of the log take it, without a plus sign to be encoded."""
    return time.isoformat().replace("+00:00", "Z")


def _entity(entry: AuditEntry, columns: Columns | None) -> dict[str, Any] | None:
    """Return a row in the form of the API: without columns that this release does not know."""
    if columns is None:
        return None
    if entry.kind not in ENTITIES:
        return dict(columns)
    fields = ENTITIES[entry.kind].fields.values()
    entity = {
        field.name: _value(field, columns[field.column], entry.occurred_at)
        for field in fields
        if field.column in columns
    }
    if entry.kind == PLUGINS.table:
        entity["config"] = shown_config(entity["name"], entity["config"])
    return entity


def _value(field: EntityField, value: Any, at: datetime) -> Any:
    """Return a column's JSON value in the form of the API; a ``ttl`` is the rest as of ``at``."""
    match field.kind:
        case FieldKind.REFERENCE if value is not None:
            return {"id": value}
        case FieldKind.TIMESTAMP | FieldKind.EXPIRY if value is not None:
            try:
                time = datetime.fromisoformat(value)
            except ValueError:  # beyond Python's years
                return value
            if field.kind is FieldKind.EXPIRY:
                return max(0, math.floor((time - at).total_seconds()))
            return field.to_api(time)
        case _:
            return value


def _changed(entry: AuditEntry, columns: list[str]) -> Iterator[str]:
    """Yield the names of the fields that differ; in records, of those below: ``config.minute``."""
    if entry.kind not in ENTITIES:
        yield from columns
        return
    before, after = entry.before or {}, entry.after or {}
    for field in ENTITIES[entry.kind].fields.values():
        if field.column in columns:
            yield from _differing(
                field.name, before.get(field.column), after.get(field.column), DEEPEST
            )


def _differing(name: str, before: Any, after: Any, deepest: int) -> Iterator[str]:
    if not (isinstance(before, dict) and isinstance(after, dict) and deepest):
        yield name
        return
    for below in sorted(before.keys() | after.keys()):
        if before.get(below) != after.get(below):
            yield from _differing(
                f"{name}.{below}", before.get(below), after.get(below), deepest - 1
            )

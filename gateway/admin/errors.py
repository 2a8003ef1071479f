"""Every error answer of the Admin API, and the one seam where exceptions become answers.

Codes, names and texts: reference sheet admin-api.md, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gateway.admin.responses import JsonResponse
from gateway.entities import ENTITIES, SchemaViolationError
from gateway.entities.errors import lua_dump
from gateway.store.errors import (
    ForeignKeyMissing,
    PrimaryKeyConflict,
    StillReferenced,
    StoreUnavailable,
    UniqueConflict,
    UnstorableValue,
)

RETRY_AFTER_S = 5
"""When a client should try again after the database was unavailable."""

_log = structlog.get_logger(__name__)


class ApiError(Exception):
    """An error answer: its status and its JSON body."""

    def __init__(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(body.get("message"))
        self.status = status
        self.body = body
        self.headers = headers


# -- plain answers


def plain(status: int, message: str, **further: Any) -> ApiError:
    """Return an answer that is a message and nothing else."""
    return ApiError(status, {"message": message, **further})


def not_found() -> ApiError:
    """Return the answer for an unknown path, a missed read, an unknown parent."""
    return plain(404, "Not found")


def method_not_allowed() -> ApiError:
    """Return the answer for a method that a known path does not have."""
    return plain(405, "Method not allowed")


def unavailable(message: str) -> ApiError:
    """Return the answer for a database that does not answer in time."""
    return ApiError(503, {"message": message}, {"Retry-After": str(RETRY_AFTER_S)})


def too_many_commands(most: int, within_s: int) -> ApiError:
    """Return the answer for an order to all nodes that is one too many."""
    message = f"{most} commands were given within {within_s} s: try again later"
    return ApiError(429, {"message": message}, {"Retry-After": "60"})


# -- structured answers


def invalid_primary_key(segment: str) -> ApiError:
    """Return the answer for a URL segment that is no id, where only ids name an entity."""
    message = f"invalid primary key: '{lua_dump({'id': segment})}'"
    fields = {"id": "expected a valid UUID"}
    return _structured(400, 1, "invalid primary key", message, fields=fields)


def missing_entity(field: str, value: Any) -> ApiError:
    """Return the answer for a change to an entity that is not there."""
    named = {field: str(value)}
    with_what = "primary key " if field == "id" else ""
    message = f"could not find the entity with {with_what}'{lua_dump(named)}'"
    return _structured(404, 6, "not found", message, fields=named)


def invalid_offset(offset: str, reason: str) -> ApiError:
    """Return the answer for an ``offset`` that no page gave out."""
    return _structured(400, 7, "invalid offset", f"'{offset}' is not a valid offset: {reason}")


def invalid_size(message: str) -> ApiError:
    """Return the answer for a page size that cannot be."""
    return _structured(400, 9, "invalid size", message)


def invalid_unique(field: str, text: Any) -> ApiError:
    """Return the answer for a URL segment that cannot be a value of the endpoint key."""
    return _structured(400, 10, f"invalid unique {field}", text)


def invalid_option(option: str, text: str) -> ApiError:
    """Return the answer for a query parameter that cannot be read."""
    message = f"invalid option ({option}: {text})"
    return _structured(400, 11, "invalid options", message, options={option: text})


def unresolved_references(unresolved: Mapping[str, tuple[str, str, str]]) -> ApiError:
    """Return the answer for references by name to nothing.

    ``unresolved`` maps a reference's field to (field of the other entity, its value, its table).
    """
    fields: dict[str, Any] = {}
    lines = []
    for field, (key, value, table) in sorted(unresolved.items()):
        named = lua_dump({key: value})
        text = f"the foreign key cannot be resolved with '{named}' for an existing '{table}' entity"
        fields[field] = {key: text}
        lines.append(f"{field}.{key}: {text}")
    what = "foreign key unresolved" if len(lines) == 1 else f"{len(lines)} foreign keys unresolved"
    message = f"{what} ({'; '.join(lines)})"
    return _structured(400, 13, "foreign keys unresolved", message, fields=fields)


def missing_reference(field: str, id_: Any, table: str) -> ApiError:
    """Return the answer for a reference to an id that ``table`` does not have."""
    message = (
        f"the foreign key '{lua_dump({'id': str(id_)})}' does not reference "
        f"an existing '{table}' entity."
    )
    return _structured(400, 4, "foreign key violation", message, fields={field: {"id": str(id_)}})


def still_referenced_ca(id_: Any, by_table: str, by_id: Any) -> ApiError:
    """Return the answer to the deletion of a CA certificate that another entity names."""
    message = f"ca certificate {id_} is still referenced by {by_table} (id = {by_id})"
    return _structured(400, 19, "referenced by others", message)


def _structured(status: int, code: int, name: str, message: Any, **details: Any) -> ApiError:
    return ApiError(status, {"code": code, "name": name, "message": message, **details})


# -- the seam


def answer(error: Exception) -> Response:
    """Return the answer for whatever a handler raised; what nobody expected is logged."""
    make = next((make for kind, make in _ANSWERS.items() if isinstance(error, kind)), _unexpected)
    api_error: ApiError = make(error)
    return JsonResponse(api_error.body, api_error.status, api_error.headers)


def _unexpected(error: Exception) -> ApiError:
    _log.error("the Admin API failed on a request", exc_info=error)
    return plain(500, "An unexpected error occurred")


def _schema_violation(error: SchemaViolationError) -> ApiError:
    return _structured(400, 2, "schema violation", str(error), fields=error.fields)


def _primary_key_conflict(error: PrimaryKeyConflict) -> ApiError:
    named = {"id": str(error.id)}
    message = f"primary key violation on key '{lua_dump(named)}'"
    return _structured(400, 3, "primary key violation", message, fields=named)


def _unique_conflict(error: UniqueConflict) -> ApiError:
    entity_fields = ENTITIES[error.table].fields.values()
    fields = {
        f.name: f.to_api(error.columns[f.column])
        for f in entity_fields
        if f.column in error.columns
    }
    message = f"UNIQUE violation detected on '{lua_dump(fields)}'"
    return _structured(409, 5, "unique constraint violation", message, fields=fields)


def _foreign_key_missing(error: ForeignKeyMissing) -> ApiError:
    field = _field_name(error.table, error.column)
    return missing_reference(field, error.id, error.references)


def _still_referenced(error: StillReferenced) -> ApiError:
    message = f"an existing '{error.by_table}' entity references this '{error.table}' entity"
    by_whom = {"@referenced_by": error.by_table}
    return _structured(400, 4, "foreign key violation", message, fields=by_whom)


def _unstorable(error: UnstorableValue) -> ApiError:
    return plain(400, f"{_field_name(error.table, error.column)}: {error.reason}")


def _field_name(table: str, column: str | None) -> str:
    fields = ENTITIES[table].fields.values()
    return next((field.name for field in fields if field.column == column), table)


_ANSWERS: dict[type[Exception], Callable[[Any], ApiError]] = {
    ApiError: lambda error: error,
    SchemaViolationError: _schema_violation,
    PrimaryKeyConflict: _primary_key_conflict,
    UniqueConflict: _unique_conflict,
    ForeignKeyMissing: _foreign_key_missing,
    StillReferenced: _still_referenced,
    UnstorableValue: _unstorable,
    StoreUnavailable: lambda error: unavailable(str(error)),
    TimeoutError: lambda _: unavailable("the Admin API could not finish in time"),
    ClientDisconnect: lambda _: plain(400, "the request ended before its body did"),
}

"""The error answers: their two shapes, and which statuses an operation may answer with.

Codes and names: reference sheet admin-api.md, section 7.
"""

from __future__ import annotations

from gateway.admin.openapi.json_schema import (
    ANYTHING,
    INTEGER,
    OBJECT,
    TEXT,
    Schema,
    record,
    reference,
)
from gateway.admin.openapi.operation import Answer, Header

CODES = {
    1: "invalid primary key",
    2: "schema violation",
    3: "primary key violation",
    4: "foreign key violation",
    5: "unique constraint violation",
    6: "not found",
    7: "invalid offset",
    9: "invalid size",
    10: "invalid unique …",
    11: "invalid options",
    13: "foreign keys unresolved",
    14: "invalid declarative configuration",
    19: "referenced by others",
}
"""Codes of structured errors, each with the name that comes with it."""

SCHEMAS: dict[str, Schema] = {
    "Message": {
        **record(message=TEXT),
        "properties": {
            "message": {**TEXT, "description": "What is wrong, for people to read."},
            "reason": {**TEXT, "description": "Why the body cannot be read."},
        },
        "description": "An error that says nothing more.",
    },
    "Violation": {
        **record(code=INTEGER, name=TEXT, message=TEXT),
        "properties": {
            "code": {**INTEGER, "enum": list(CODES)},
            "name": {**TEXT, "description": "The code in words."},
            "message": {**TEXT, "description": "All that is wrong, in one line."},
            "fields": {
                **OBJECT,
                "description": "What is wrong with each field, as a tree like the entity; "
                "`@entity` holds what concerns several fields.",
                "properties": {"@entity": {"type": "array", "items": TEXT}},
                "additionalProperties": ANYTHING,
            },
            "options": {**OBJECT, "description": "What is wrong with a query parameter."},
        },
        "description": "An error with a code. "
        + "; ".join(f"{code}: {name}" for code, name in CODES.items()),
    },
}
"""The components for errors."""

_MESSAGE, _VIOLATION = reference("Message"), reference("Violation")
_EITHER = {"anyOf": [_VIOLATION, _MESSAGE]}

REFUSED = Answer(
    "What was sent is refused.",
    _EITHER,
    example={
        "code": 2,
        "name": "schema violation",
        "message": "schema violation (host: required field missing)",
        "fields": {"host": "required field missing"},
    },
    component="Refused",
)
NOT_FOUND = Answer(
    "What the URL names is not there.",
    _EITHER,
    example={"message": "Not found"},
    component="NotFound",
)
CONFLICT = Answer(
    "Another entity has this value, which must be unique.",
    _VIOLATION,
    example={
        "code": 5,
        "name": "unique constraint violation",
        "message": "UNIQUE violation detected on '{name=\"orders\"}'",
        "fields": {"name": "orders"},
    },
    component="Conflict",
)
CHANGED = Answer(
    "Somebody else was faster: the entity is not in the state that the request is for.",
    _MESSAGE,
    component="Changed",
)
TOO_LARGE = Answer("The body is too large.", _MESSAGE, component="TooLarge")
WRONG_TYPE = Answer(
    "The body is of a type that is not read, or compressed.",
    _MESSAGE,
    headers={"Accept-Encoding": Header("With a compressed body: what is read.")},
    component="WrongType",
)

OF_BODIES = {413: TOO_LARGE, 415: WRONG_TYPE}
"""What may come of any body."""

_AFTER_A_WHILE = {"Retry-After": Header("Seconds after which to try again.", INTEGER, always=True)}

OF_ALL = {
    400: REFUSED,
    401: Answer(
        "A token is missing, or of no use.",
        _MESSAGE,
        headers={"WWW-Authenticate": Header("How to show a token.", always=True)},
        component="Unauthorized",
    ),
    403: Answer(
        "The token's role may not do this, or a web page of another origin asks.",
        _MESSAGE,
        component="Forbidden",
    ),
    429: Answer(
        "Too many logins from this address have failed, the node is busy with another file, or "
        "too many commands (marks of targets, purges of caches) were given within an hour.",
        _MESSAGE,
        headers=_AFTER_A_WHILE,
        component="TooMany",
    ),
    503: Answer(
        "The database does not answer in time.",
        _MESSAGE,
        headers=_AFTER_A_WHILE,
        example={"message": "the database is unavailable: connection refused"},
        component="Unavailable",
    ),
}
"""What any operation may answer."""

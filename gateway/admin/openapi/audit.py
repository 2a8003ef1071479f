"""The operations on the audit log."""

from __future__ import annotations

from gateway.admin.audit import KINDS, LONGEST_TEXT, OPERATIONS
from gateway.admin.openapi.errors import NOT_FOUND
from gateway.admin.openapi.json_schema import (
    INTEGER,
    MOMENT,
    OBJECT,
    TEXT,
    UUID,
    list_of,
    or_null,
    page_of,
    record,
)
from gateway.admin.openapi.operation import Answer, Operation, Parameter
from gateway.admin.openapi.parameters import SIZE

AUDIT = "audit"

_ENTRY = record(
    id=INTEGER,
    version=or_null(INTEGER),
    kind=TEXT,
    entity_id=UUID,
    operation={**TEXT, "enum": list(OPERATIONS)},
    occurred_at=MOMENT,
    token=or_null(TEXT),
    address=or_null(TEXT),
    request_id=or_null(TEXT),
    db_role=TEXT,
    changed=or_null(list_of(TEXT)),
    before=or_null(OBJECT),
    after=or_null(OBJECT),
)
_SHORT = {**TEXT, "minLength": 1, "maxLength": LONGEST_TEXT}
_WHEN = "seconds since 1970, or a time as `2026-01-31T12:00:00Z`"


def operations() -> list[Operation]:
    """Return what there is to ask of the log."""
    return [
        Operation(
            id="list_audit",
            method="GET",
            path="/audit",
            about=AUDIT,
            summary="List who has changed what, the newest first",
            parameters=(SIZE, _option("offset", "`offset` of the previous page."), *_FILTERS),
            answers={200: Answer("One page.", page_of(_ENTRY))},
        ),
        Operation(
            id="get_audit_entry",
            method="GET",
            path="/audit/{entry}",
            about=AUDIT,
            summary="Read one entry",
            parameters=(Parameter("entry", "path", "Its id.", INTEGER, 1),),
            answers={200: Answer("The entry.", _ENTRY), 404: NOT_FOUND},
        ),
    ]


def _option(name: str, doc: str, **schema: object) -> Parameter:
    return Parameter(name, "query", doc, {**TEXT, **schema})


_FILTERS = (
    _option("kind", "Only changes to this table.", enum=list(KINDS)),
    _option("entity_id", "Only changes to this entity.", format="uuid"),
    _option("operation", "Only changes of this sort.", enum=list(OPERATIONS)),
    _option("token", "Only changes by the token of this name.", **_SHORT),
    _option("address", "Only changes from this address.", **_SHORT),
    _option("request_id", "Only changes by this request.", **_SHORT),
    Parameter("version", "query", "Only changes that made this version.", INTEGER),
    _option("since", f"Only changes since then: {_WHEN}."),
    _option("until", f"Only changes before then: {_WHEN}."),
)

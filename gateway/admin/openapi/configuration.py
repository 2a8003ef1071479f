"""The operations on the configuration as a whole."""

from __future__ import annotations

from gateway.admin.body import YAML
from gateway.admin.openapi.errors import OF_BODIES
from gateway.admin.openapi.json_schema import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    OBJECT,
    TEXT,
    Schema,
    list_of,
    map_of,
    open_record,
    or_null,
    record,
    reference,
)
from gateway.admin.openapi.operation import EVERY_TYPE, Answer, Body, Header, Operation, Parameter
from gateway.admin.openapi.parameters import WAIT
from gateway.admin.responses import VERSION_HEADER
from gateway.declarative.differences import MOST_TOLD

CONFIGURATION = "configuration"

_DIFFERENCE = {
    "type": "object",
    "properties": {
        "operation": {**TEXT, "enum": ["create", "update", "delete"]},
        "entity": TEXT,
        "id": TEXT,
        "name": TEXT,
        "of": TEXT,
        "fields": map_of(
            {
                "type": "object",
                "properties": {"from": ANYTHING, "to": ANYTHING},
                "additionalProperties": False,
            }
        ),
    },
    "required": ["operation", "entity", "id", "fields"],
    "additionalProperties": False,
}

SCHEMAS: dict[str, Schema] = {
    "Differences": {
        **record(
            dry_run=BOOLEAN,
            version=INTEGER,
            counts=record(create=INTEGER, update=INTEGER, delete=INTEGER, unchanged=INTEGER),
            entities=map_of(map_of(INTEGER)),
            differences_total=INTEGER,
            differences={**list_of(_DIFFERENCE), "maxItems": MOST_TOLD},
        ),
        "description": f"What has changed, or would: numbers, and the first {MOST_TOLD} changes.",
    },
    "InvalidConfiguration": {
        **open_record(code={"const": 14}, name=TEXT, message=TEXT, fields=OBJECT),
        "description": "What is wrong with each entity of a file, as a tree like the file.",
    },
}
"""The components for files."""

_SELECT_TAG = Parameter(
    "select_tag",
    "query",
    "Only what has this tag; more than one: all of them. Nothing else is looked at or touched.",
    example="shop",
)
_FILE: Schema = {
    "type": "object",
    "properties": {
        "_format_version": {**TEXT, "enum": ["1.1", "2.1", "3.0"]},
        "config": {**TEXT, "description": "The file as a text, in place of all other fields."},
    },
}
_EXAMPLE = {
    "_format_version": "3.0",
    "services": [
        {
            "name": "orders",
            "url": "http://orders.internal:9000/v2",
            "routes": [{"name": "orders-list", "paths": ["/orders"]}],
        }
    ],
}
_MADE = {
    VERSION_HEADER: Header("The version that this made; absent from a dry run.", INTEGER),
}
_TOO_LATE = Answer(
    "It took too long, and is not done unless the message says otherwise.", reference("Message")
)
_INVALID = Answer(
    "The file declares nothing valid, or a parameter cannot be read.",
    {
        "anyOf": [
            reference("InvalidConfiguration"),
            reference("Violation"),
            reference("Message"),
        ]
    },
)


def operations() -> list[Operation]:
    """Return what there is to do with everything."""
    return [
        Operation(
            id="export_configuration",
            method="GET",
            path="/config",
            about=CONFIGURATION,
            summary="Return everything as a declarative file",
            parameters=(
                _SELECT_TAG,
                Parameter(
                    "format", "query", "How it is written.", {**TEXT, "enum": ["yaml", "json"]}
                ),
            ),
            answers={200: Answer("The file.", record(config=TEXT)), 504: _TOO_LATE},
        ),
        Operation(
            id="import_configuration",
            method="POST",
            path="/config",
            about=CONFIGURATION,
            summary="Make everything as a declarative file says",
            doc="In one transaction and one version: all of it, or nothing. What the file lacks is "
            "deleted. The body is the file, in YAML or JSON, or a form with the field `config`.",
            parameters=(
                _SELECT_TAG,
                _flag("dry_run", "Only tell what would change."),
                _flag("flatten_errors", "Tell what is wrong with entities as a list as well."),
                *WAIT,
            ),
            body=Body(_FILE, _EXAMPLE, (*EVERY_TYPE, *YAML)),
            answers={
                200: Answer("What has changed.", reference("Differences"), headers=_MADE),
                400: _INVALID,
                409: Answer("The database refuses it.", reference("Message")),
                504: _TOO_LATE,
                **OF_BODIES,
            },
        ),
        Operation(
            id="get_configuration_progress",
            method="GET",
            path="/config/progress",
            about=CONFIGURATION,
            summary="Say how far the request is that the node is working on",
            answers={
                200: Answer(
                    "The step, or null.",
                    record(progress=or_null(record(step=TEXT, done=INTEGER, total=INTEGER))),
                )
            },
        ),
    ]


def _flag(name: str, doc: str) -> Parameter:
    return Parameter(name, "query", doc, {**TEXT, "enum": ["0", "1"], "default": "0"})

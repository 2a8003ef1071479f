"""JSON Schema of what entities look like: when given by a client, and when answered.

The short words for schemas that are written by hand are here as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from gateway.entities.entity_type import EntityType
from gateway.entities.rules import (
    AtLeast,
    AtMost,
    Between,
    Matches,
    MoreThan,
    OneOf,
    Rule,
    StartsWith,
    Without,
)
from gateway.entities.schema import Field, Kind, Value, fields_of

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
UUID: Schema = {"type": "string", "format": "uuid"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
ANYTHING: Schema = {}
OBJECT: Schema = {"type": "object"}


def record(**properties: Schema) -> Schema:
    """Return the schema of an object that has all of these and nothing else."""
    return open_record(**properties) | {"additionalProperties": False}


def open_record(**properties: Schema) -> Schema:
    """Return the schema of an object that has all of these, and maybe more."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def list_of(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def map_of(schema: Schema) -> Schema:
    """Return the schema of an object with any keys."""
    return {"type": "object", "additionalProperties": schema}


def or_null(schema: Schema) -> Schema:
    """Return the schema that also allows null."""
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]} if schema else schema
    allowed = schema | {"type": [schema["type"], "null"]}
    return allowed | {"enum": [*schema["enum"], None]} if "enum" in schema else allowed


def page_of(schema: Schema) -> Schema:
    """Return the schema of one page of a list."""
    data = {**list_of(schema), "description": "What this page holds."}
    page = record(data=data, next=or_null(TEXT) | {"description": "Path of the next page."})
    page["properties"]["offset"] = {**TEXT, "description": "Where the next page begins, if any."}
    return page


def reference(component: str) -> Schema:
    """Return the schema that is found among the components."""
    return {"$ref": f"#/components/schemas/{component}"}


# -- entities


def given_schema(entity_type: EntityType) -> Schema:
    """Return what a client may send, whatever it must; shorthands among it."""
    fields = fields_of(entity_type.model)
    properties = {field.name: _given_field(field) for field in fields}
    for name, doc in entity_type.model.shorthands.items():
        properties[name] = or_null(TEXT) | {"description": doc, "writeOnly": True}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def answered_schema(entity_type: EntityType) -> Schema:
    """Return what the API answers with."""
    return _answered_record(fields_of(entity_type.model))


def required_fields(entity_type: EntityType) -> list[str]:
    """Return the fields without which a new entity is refused."""
    return [field.name for field in fields_of(entity_type.model) if field.must_be_given]


def _given_field(field: Field) -> Schema:
    if field.name == "updated_at":
        return {"readOnly": True, "description": f"{field.doc} What is sent is ignored."}
    schema = _value(field.value, _given_record, _given_reference)
    schema = or_null(schema) if field.auto else schema
    default = {} if field.default is None else {"default": field.default}
    return schema | default | {"description": _doc(field)}


def _given_record(fields: Iterable[Field]) -> Schema:
    properties = {field.name: _given_field(field) for field in fields}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _answered_record(fields: Iterable[Field]) -> Schema:
    properties = {
        field.name: _value(field.value, _answered_record, _answered_reference)
        | {"description": _doc(field)}
        for field in fields
    }
    return record(**properties)


def _doc(field: Field) -> str:
    remarks = (
        "Made by the server if absent." if field.auto and "absent" not in field.doc else "",
        "Unique." if field.unique else "",
        "Secret." if field.secret else "",
    )
    return " ".join(text for text in (field.doc, *remarks) if text)


def _given_reference(value: Value) -> Schema:
    assert value.reference is not None  # noqa: S101 - of this kind
    names = dict.fromkeys(value.reference.unique_fields, or_null(TEXT))
    return {"type": "object", "properties": {"id": or_null(UUID), **names}}


def _answered_reference(value: Value) -> Schema:
    del value
    return record(id=UUID)


def _value(
    value: Value,
    render_record: Callable[[Iterable[Field]], Schema],
    render_reference: Callable[[Value], Schema],
) -> Schema:
    """Return what a value may be; the two functions render what differs between the forms."""

    def render(below: Value) -> Schema:
        return _value(below, render_record, render_reference)

    schema = _SIMPLE.get(value.kind, {})
    if value.is_uuid:
        schema = UUID
    elif value.kind is Kind.RECORD:
        schema = render_record(value.fields)
    elif value.kind is Kind.FOREIGN:
        schema = render_reference(value)
    elif value.key is not None and value.element is not None:
        schema = map_of(render(value.element)) | {"propertyNames": render(value.key)}
    elif value.element is not None:
        schema = list_of(render(value.element))
    schema = _with_rules(schema, value.rules)
    return or_null(schema) if value.nullable else schema


_SIMPLE = {
    Kind.STRING: TEXT,
    Kind.INTEGER: INTEGER,
    Kind.NUMBER: NUMBER,
    Kind.BOOLEAN: BOOLEAN,
}


def _with_rules(schema: Schema, rules: Iterable[Rule]) -> Schema:
    schema = dict(schema)
    for rule in rules:
        keywords = _RULES[type(rule)](rule, schema) if type(rule) in _RULES else {}
        if schema.keys() & keywords.keys():
            schema["allOf"] = [*schema.get("allOf", []), keywords]
        else:
            schema |= keywords
    return schema


def _length(keyword: str) -> Callable[[Any, Schema], Schema]:
    """Return a function that limits the length of a text, or of a list."""
    unit = {"string": "Length", "array": "Items"}
    return lambda rule, schema: {f"{keyword}{unit[schema['type']]}": rule.length}


_RULES: dict[type[Rule], Callable[[Any, Schema], Schema]] = {
    Between: lambda rule, _: {"minimum": rule.low, "maximum": rule.high},
    MoreThan: lambda rule, _: {"exclusiveMinimum": rule.low},
    OneOf: lambda rule, _: {"enum": list(rule.choices)},
    AtLeast: _length("min"),
    AtMost: _length("max"),
    StartsWith: lambda rule, _: {"pattern": f"^{re.escape(rule.prefix)}"},
    Matches: lambda rule, _: {"pattern": f"^{rule.pattern}$"},
    Without: lambda rule, _: {"not": {**TEXT, "pattern": re.escape(rule.part)}},
}
"""The rules that JSON Schema can tell."""

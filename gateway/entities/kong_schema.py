"""Schemas in the shape that Kong's clients read. Sheet: admin-api.md, section 8 (Schemas).

``fields`` is an ordered list of objects with one key each. What a function decides has no place in
this shape. Patterns are regular expressions, where Kong has those of Lua.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gateway.entities.checks import (
    AtLeastOneOf,
    Check,
    Condition,
    Conditional,
    Distinct,
    Is,
    IsNot,
    IsNull,
    IsSet,
    MutuallyRequired,
)
from gateway.entities.entity_type import EntityType
from gateway.entities.plugin import PLUGINS
from gateway.entities.rules import (
    AtLeast,
    AtMost,
    Between,
    FromOneFamily,
    Matches,
    MoreThan,
    OneOf,
    Rule,
    StartsWith,
    Without,
)
from gateway.entities.schema import Field, Kind, Value, fields_of
from gateway.plugins.contract import Plugin

Schema = dict[str, Any]

_GOES_WITHOUT_SAYING = AtLeast(1)
"""Of a string, in Kong's schemas."""


def entity_schema(entity_type: EntityType) -> Schema:
    """Return the schema of a kind of entity."""
    checks: list[Schema] = []
    for check in map(_check, entity_type.checks):
        if check not in checks:
            checks.append(check)
    schema: Schema = {
        "fields": fields_schema(fields_of(entity_type.model)),
        "entity_checks": checks,
    }
    shorthands = entity_type.model.shorthands
    if shorthands:
        schema["shorthand_fields"] = [
            {name: {"type": "string", "description": doc}} for name, doc in shorthands.items()
        ]
    return schema


def plugin_schema(plugin: type[Plugin]) -> Schema:
    """Return what is particular to the entities of one plugin, which must be present."""
    fields = fields_of(PLUGINS.model_of({"name": plugin.name}))
    scopes = [
        {name: {"type": "foreign", "reference": key.table, "eq": None}}
        for name, key in PLUGINS.foreign_keys.items()
        if name not in plugin.scopes
    ]
    protocols = fields_schema(field for field in fields if field.name == "protocols")
    config = {"type": "record", "required": True, "fields": config_fields(plugin)}
    return {"fields": [*scopes, *protocols, {"config": config}], "entity_checks": []}


def config_fields(plugin: type[Plugin]) -> list[Schema]:
    """Return the fields of a plugin's configuration."""
    return fields_schema(fields_of(plugin.Config))


def fields_schema(fields: Iterable[Field]) -> list[Schema]:
    """Return the fields, one object each."""
    return [{field.name: _field(field)} for field in fields]


def _field(field: Field) -> Schema:
    schema = value_schema(field.value)
    if field.required:
        schema["required"] = True
    if field.default is not None:
        schema["default"] = field.default
    if field.auto:
        schema["auto"] = True
    if field.unique:
        schema["unique"] = True
    if field.secret:
        schema["encrypted"] = True
    return schema | {"description": field.doc}


def value_schema(value: Value) -> Schema:
    """Return what a value may be, without what concerns its field."""
    schema: Schema = {"type": value.kind.value}
    if value.is_uuid:
        schema["uuid"] = True
    if value.is_timestamp:
        schema["timestamp"] = True
    if value.reference is not None:
        schema["reference"] = value.reference.table
        if value.reference.on_delete != "restrict":
            schema["on_delete"] = value.reference.on_delete
    for rule in value.rules:
        said = not (value.kind is Kind.STRING and rule == _GOES_WITHOUT_SAYING)
        if said and type(rule) in RULES:
            schema |= RULES[type(rule)](rule)
    return schema | _below(value)


def _below(value: Value) -> Schema:
    if value.kind is Kind.RECORD:
        return {"fields": fields_schema(value.fields)}
    if value.element is None:
        return {}
    if value.key is None:
        return {"elements": value_schema(value.element)}
    return {"keys": value_schema(value.key), "values": value_schema(value.element)}


RULES: dict[type[Rule], Callable[[Any], Schema]] = {
    Between: lambda rule: {"between": [rule.low, rule.high]},
    MoreThan: lambda rule: {"gt": rule.low},
    OneOf: lambda rule: {"one_of": list(rule.choices)},
    AtLeast: lambda rule: {"len_min": rule.length},
    AtMost: lambda rule: {"len_max": rule.length},
    StartsWith: lambda rule: {"starts_with": rule.prefix},
    Matches: lambda rule: {"match": f"^{rule.pattern}$"},
    Without: lambda rule: {"match_none": [{"pattern": rule.part, "err": rule.text}]},
    FromOneFamily: lambda rule: {"mutually_exclusive_subsets": list(map(list, rule.families))},
}
"""The rules that are no functions, as attributes."""


def _check(check: Check) -> Schema:
    match check:
        case Conditional():
            rule = {
                "if_field": check.if_field,
                "if_match": _condition(check.if_match),
                "then_field": check.then_field,
                "then_match": _condition(check.then_match),
            }
            return {"conditional": rule}
        case Distinct():
            return {"distinct": list(check.reads)}
        case MutuallyRequired():
            return {"mutually_required": list(check.reads)}
        case AtLeastOneOf():
            return {"at_least_one_of": list(check.reads)}
        case _:
            return {"custom_entity_check": {"field_sources": list(check.reads)}}


def _condition(condition: Condition) -> Schema:
    match condition:
        case Is(choices):
            return {"one_of": list(choices)}
        case IsNot(choices):
            return {"not_one_of": list(choices)}
        case IsNull():
            return {"eq": None}
        case IsSet():
            return {"required": True}
        case _:
            raise TypeError(f"{condition} has no place in Kong's schemas")

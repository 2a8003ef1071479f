"""Fields of entities as rows of a table: type, default and rules in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from gateway.admin.docs_page.html import Html, element, joined, prose, table
from gateway.entities import EntityType
from gateway.entities.kong_schema import entity_schema
from gateway.entities.schema import Field, Kind, Value, fields_of
from gateway.entities.words import listed, sentences

_LONGEST_DEFAULT = 60


def fields_table(entity_type: EntityType) -> Html:
    """Return the table of an entity's fields, those of its records below them."""
    rows = [
        *_rows(fields_of(entity_type.model)),
        *(
            (element("code", name), "string", "", prose(doc))
            for name, doc in entity_type.model.shorthands.items()
        ),
    ]
    return table(*rows, head=("Field", "Type", "Default", "What it is"))


def checks_list(entity_type: EntityType) -> Html:
    """Return what is checked across fields, as a list; nothing if there is none."""
    checks = entity_schema(entity_type)["entity_checks"]
    return element("ul", *(element("li", _check(check)) for check in checks)) if checks else Html()


def _rows(fields: Iterable[Field], above: str = "") -> Iterator[tuple[str, ...]]:
    for field in fields:
        name = f"{above}{field.name}"
        yield (
            element("code", name),
            joined(_type(field.value), " ", _necessity(field)),
            _default(field),
            prose(" ".join((field.doc, *sentences(field)))),
        )
        yield from _rows(field.value.fields, f"{name}.")
        if field.value.element is not None:
            yield from _rows(field.value.element.fields, f"{name}[].")


def _necessity(field: Field) -> Html:
    return element("strong", "required") if field.must_be_given else Html()


def _default(field: Field) -> Html:
    if field.auto:
        return Html("made")
    text = json.dumps(field.default, ensure_ascii=False)
    is_long = field.value.kind is Kind.RECORD or len(text) > _LONGEST_DEFAULT
    shown = "see below" if field.value.kind is Kind.RECORD else f"{text[:_LONGEST_DEFAULT]}…"
    return element("code", shown if is_long else text) if field.default is not None else Html()


def _type(value: Value) -> Html:
    if value.reference is not None:
        table_name = value.reference.table
        return element("a", table_name, href=f"#{table_name}")
    if value.key is not None and value.element is not None:
        return joined("map of ", _type(value.element))
    if value.element is not None:
        return joined(f"{value.kind} of ", _type(value.element))
    return joined("uuid" if value.is_uuid else str(value.kind))


def _check(check: dict[str, Any]) -> Html:
    (kind, rule), *_ = check.items()
    if kind == "conditional":
        return prose(
            f"If `{rule['if_field']}` is {_condition(rule['if_match'])}, then "
            f"`{rule['then_field']}` must be {_condition(rule['then_match'])}."
        )
    names = listed(rule["field_sources"] if kind == "custom_entity_check" else rule)
    return prose(f"{_CHECKS[kind]} {names}.")


_CHECKS = {
    "distinct": "Must differ from each other:",
    "mutually_required": "All of them or none:",
    "at_least_one_of": "At least one of",
    "custom_entity_check": "Must fit together:",
}


def _condition(condition: dict[str, Any]) -> str:
    match condition:
        case {"one_of": [only]}:
            return f"`{only}`"
        case {"one_of": choices}:
            return f"one of {listed(choices)}"
        case {"not_one_of": choices}:
            return f"none of {listed(choices)}"
        case {"required": True}:
            return "set"
        case _:
            return "null"

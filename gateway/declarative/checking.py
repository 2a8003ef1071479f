"""A document's entities, each valid and all consistent, or everything that is wrong with them.

Reference sheet decl-config.md, section A3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.declarative.document import Document, parse_document
from gateway.declarative.flat import MASK, Item, flatten
from gateway.declarative.keys import key_of, unique_keys
from gateway.declarative.passwords import put_aside
from gateway.declarative.plugin_protocols import refuse_misfits
from gateway.declarative.problems import Problems
from gateway.entities import (
    ENTITIES,
    FieldKind,
    ForeignKey,
    Given,
    Reference,
    Row,
    SchemaViolationError,
)
from gateway.entities.credentials import BASICAUTH_CREDENTIALS
from gateway.entities.errors import ENTITY
from gateway.entities.sni import SNIS
from gateway.entities.types import parse_uuid


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a file declares: valid entities, parents first, and the tags that limit it.


    References to entities that the file does not have are left ``outside`` if there are such tags.
    """

    items: Sequence[Item]
    select_tags: tuple[str, ...]


def check(value: Any, select_tags: Sequence[str] = ()) -> Declaration:
    """Return what a value read from a file declares. Raises InvalidConfigError.

    ``select_tags`` are those that the caller gives, beside or instead of the file.
    """
    problems = Problems()
    document = parse_document(value, problems).selecting(select_tags, problems)
    items = flatten(document, problems)
    _resolve(items, document, problems)
    items = _without_repeated_names(items)
    for item in items:
        _validate(item, document, problems)
    _refuse_duplicates(items, problems)
    refuse_misfits(items, problems)
    problems.raise_if_any()
    rank = {table: position for position, table in enumerate(ENTITIES)}
    return Declaration(sorted(items, key=lambda i: rank[i.type.table]), document.select_tags)


# -- references


def _resolve(items: Sequence[Item], document: Document, problems: Problems) -> None:
    """Find the parents that entities name."""
    known = _by_unique_field(items)
    for item in items:
        item.parents = dict(item.above)
        for name, written in item.named.items():
            foreign_key = item.type.foreign_keys[name]
            reference = _reference(foreign_key, written)
            if reference is None:
                item.given[name] = written  # which validation refuses
            elif (parent := _parent(foreign_key, reference, known)) is not None:
                item.parents.setdefault(name, parent)
            else:
                item.outside[name] = reference
                if not document.select_tags:
                    text = dangling(name, reference, foreign_key.table)
                    problems.add(item.place, {name: text}, item.culprit())


_Known = dict[tuple[str, str, Any], Item]


def _by_unique_field(items: Sequence[Item]) -> _Known:
    known: _Known = {}
    for item in items:
        known[item.type.table, "id", item.id] = item
        for field in item.type.fields.values():
            value = item.given.get(field.name)
            if (field.unique or field.name == item.type.endpoint_key) and isinstance(value, str):
                known.setdefault((item.type.table, field.name, value), item)
    return known


def _reference(foreign_key: ForeignKey, written: Any) -> Reference | None:
    """Return whom a reference names, None if it is no reference at all."""
    match written:
        case str():
            id_ = parse_uuid(written)
            return Reference("id", id_) if id_ else Reference(_endpoint_key(foreign_key), written)
        case dict():
            names = ("id", *foreign_key.unique_fields)
            name = next((name for name in names if written.get(name) is not None), "")
            value = written.get(name)
            value = parse_uuid(value) if name == "id" and isinstance(value, str) else value
            return Reference(name, value) if value and not isinstance(value, dict | list) else None
        case _:
            return None


def _endpoint_key(foreign_key: ForeignKey) -> str:
    return ENTITIES[foreign_key.table].endpoint_key or "id"


def _parent(foreign_key: ForeignKey, reference: Reference, known: _Known) -> Item | None:
    table = foreign_key.table
    named = known.get((table, reference.field, reference.value))
    if named is None and reference.field == "id":  # a name may look like an id
        named = known.get((table, _endpoint_key(foreign_key), str(reference.value)))
    return named


def dangling(name: str, reference: Reference, table: str) -> str:
    """Return the text for a reference to an entity that is nowhere."""
    return f"invalid reference '{name}: {reference.value}' (no such entry in '{table}')"


def _without_repeated_names(items: Sequence[Item]) -> list[Item]:
    """Return the entities without SNIs that a certificate only lists and the file also declares."""
    declared = {
        (item.given.get("name"), item.parents.get("certificate"))
        for item in items
        if item.type is SNIS and not item.is_bare_name
    }
    return [
        item
        for item in items
        if not item.is_bare_name
        or (item.given.get("name"), item.parents.get("certificate")) not in declared
    ]


# -- each entity


def _validate(item: Item, document: Document, problems: Problems) -> None:
    try:
        given = item.type.expand(_complete(item, document), "upsert")
        entity = item.type.validate(given)
    except SchemaViolationError as error:
        problems.add(item.place, error.fields, item.culprit())
        return
    item.row = item.type.to_row(entity)
    item.left_to_server = frozenset(
        field.column
        for field in item.type.fields.values()
        if field.auto and field.kind is FieldKind.TEXT and field.name not in given
    )


def _complete(item: Item, document: Document) -> Given:
    """Return the fields of an entity as a client of the Admin API would send them."""
    given: Given = {"id": str(item.id)} | item.given
    for name, parent in item.parents.items():
        given[name] = {"id": str(parent.id)}
    for name, reference in item.outside.items():
        given[name] = {reference.field: str(reference.value)}
    if item.type is BASICAUTH_CREDENTIALS:
        given, item.clear_password = put_aside(given, transform=document.transform)
    return given


# -- all together


def _refuse_duplicates(items: Sequence[Item], problems: Problems) -> None:
    seen: set[tuple[Any, ...]] = set()
    for item in items:
        texts = [] if item.row is None else list(_duplicates(item, item.row, seen))
        if texts:
            problems.add(item.place, {ENTITY: texts}, item.culprit())


def _duplicates(item: Item, row: Row, seen: set[tuple[Any, ...]]) -> Iterator[str]:
    """Yield what the entity has in common with one before it, and note what it has itself."""
    table = item.type.table
    is_unique = True
    for fields in unique_keys(table):
        names = ", ".join(field.name for field in fields)
        values = key_of(fields, row)
        if values is not None and (table, names, values) in seen:
            is_unique = False
            shown = (MASK if f.secret else str(v) for f, v in zip(fields, values, strict=True))
            yield _declared_already(table, names, ", ".join(shown))
        seen.add((table, names, values))
    if is_unique and (table, item.id) in seen:
        yield _declared_already(table, "primary key", str(item.id))
    seen.add((table, item.id))


def _declared_already(table: str, names: str, values: str) -> str:
    return f"uniqueness violation: '{table}' entity with {names} set to '{values}' already declared"

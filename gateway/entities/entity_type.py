"""The facts that table, Admin API and documents derive from an entity's declaration.

An entity's values travel in three forms: *given* (what a client sent), the validated model, and
the *row* (column name to Python value, as the store keeps it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.entities.annotations import allows_none, bare
from gateway.entities.checks import Check, run_checks
from gateway.entities.entity import (
    Elsewhere,
    Entity,
    ForeignKey,
    Given,
    Operation,
    Record,
    Reference,
    Secret,
    TimeToLive,
    Unique,
)
from gateway.entities.errors import SchemaViolationError, Tree, error_tree
from gateway.entities.types import Milliseconds, whole

Row = dict[str, Any]

EXPIRY_COLUMN = "expires_at"
"""The column of the moment from which on a row counts as gone; null: never."""

Marker = TypeVar("Marker")


class FieldKind(StrEnum):
    """How a field's value is kept: the store has one column type for each."""

    UUID = "uuid"
    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    TEXTS = "texts"
    JSON = "json"
    TIMESTAMP = "timestamp"
    REFERENCE = "reference"
    EXPIRY = "expiry"


_KINDS: dict[Any, FieldKind] = {
    UUID: FieldKind.UUID,
    str: FieldKind.TEXT,
    bool: FieldKind.BOOLEAN,
    int: FieldKind.INTEGER,
    float: FieldKind.NUMBER,
    datetime: FieldKind.TIMESTAMP,
    Reference: FieldKind.REFERENCE,
}


@dataclass(frozen=True, slots=True)
class EntityField:
    """One field as declared.

    ``default`` is what an absent field gets, in the row's form; one that is ``auto`` gets a value
    made by the server. ``milliseconds`` tells how a timestamp is written.
    """

    name: str
    kind: FieldKind
    nullable: bool
    default: Any
    auto: bool
    unique: bool
    references: ForeignKey | None
    milliseconds: bool
    secret: bool
    doc: str

    @property
    def column(self) -> str:
        """Name of the column that keeps the field."""
        if self.kind is FieldKind.EXPIRY:
            return EXPIRY_COLUMN
        return f"{self.name}_id" if self.references else self.name

    def to_row(self, value: Any) -> Any:
        """Return a validated value as the store keeps it."""
        if self.kind is FieldKind.EXPIRY:
            return datetime.now(UTC) + timedelta(seconds=value) if value else None
        return _as_json(_stored(value)) if self.kind is FieldKind.JSON else _stored(value)

    def to_api(self, value: Any) -> Any:
        """Return a row's value as the API writes it."""
        match value:
            case UUID():
                return {"id": str(value)} if self.references else str(value)
            case datetime() if self.kind is FieldKind.EXPIRY:
                left_s = math.floor((value - datetime.now(UTC)).total_seconds())
                return max(1, left_s)  # 0, sent back, would mean never
            case datetime():
                seconds = value.timestamp()
                return whole(round(seconds, 3)) if self.milliseconds else int(seconds)
            case _:
                return value


@dataclass(frozen=True)
class EntityType:
    """A kind of entity: where it is kept, how it is addressed, what it is made of.

    ``endpoint_key`` is the field that can stand for the id in a URL, if one can. ``collection`` and
    ``nested`` are what a URL calls all of them, and those below a parent, where that is not the
    table's name. In ``composite_uniques`` null is a value like others.
    """

    model: type[Entity]
    table: str
    singular: str
    endpoint_key: str | None
    checks: tuple[Check, ...] = ()
    composite_uniques: tuple[tuple[str, ...], ...] = ()
    collection: str = ""
    nested: str = ""

    def __post_init__(self) -> None:
        collection = self.collection or self.table
        object.__setattr__(self, "collection", collection)
        object.__setattr__(self, "nested", self.nested or collection)

    @cached_property
    def fields(self) -> dict[str, EntityField]:
        """The fields that its table keeps by name, in the order of the declaration."""
        declared = self.model.model_fields.items()
        return {n: _field(n, info) for n, info in declared if _marker(info, Elsewhere) is None}

    @property
    def foreign_keys(self) -> dict[str, ForeignKey]:
        """The references by field name."""
        return {f.name: f.references for f in self.fields.values() if f.references}

    def model_of(self, given: Given) -> type[Entity]:
        """Return the model for an entity with these fields, of those that a kind may have."""
        del given
        return self.model

    def expand(self, given: Given, operation: Operation) -> Given:
        """Return ``given`` with shorthands resolved and without what only the server may say.

        Raises SchemaViolationError for a shorthand that cannot be read.
        """
        expanded = self.model.expand(given, operation)
        return {
            name: value
            for name, value in expanded.items()
            if not (name in self.fields and self._is_from_server(name, value))
        }

    def _is_from_server(self, name: str, value: Any) -> bool:
        return name == "updated_at" or (value is None and self.fields[name].auto)

    def validate(self, given: Given, operation: Operation = "create") -> Entity:
        """Return the entity that ``given`` (expanded) describes, all defaults filled in.

        Fields first, then the entity's checks on the fields that are fine. Raises
        SchemaViolationError with everything that was found.
        """
        fine: Given = {}
        tree: Tree = {}
        entity: Entity | None = None
        try:
            entity = self.model_of(given).model_validate(given, context=fine)
        except ValidationError as error:
            tree = error_tree(error.errors(include_url=False))
        run_checks(self.checks, self._defaults(given) | fine, tree, operation)
        if entity is None or tree:
            raise SchemaViolationError(tree)
        return entity

    def to_row(self, entity: Entity) -> Row:
        """Return the entity as the store keeps it; its references must be by id."""
        return {f.column: f.to_row(getattr(entity, f.name)) for f in self.fields.values()}

    def to_api(self, row: Row) -> dict[str, Any]:
        """Return a row as the API writes it, ready for JSON."""
        return {f.name: f.to_api(row[f.column]) for f in self.fields.values()}

    def problem_with(self, name: str, value: Any) -> Any:
        """Return what is wrong with one field's value, ``None`` if nothing is."""
        try:
            self.model.model_validate({name: value})
        except ValidationError as error:
            return error_tree(error.errors(include_url=False)).get(name)
        return None

    def merge(self, stored: Given, given: Given) -> Given:
        """Return ``stored`` (API form) with ``given`` over it, records merged field by field."""
        return _merged(self.model_of(stored | given), stored, given)

    def _defaults(self, given: Given) -> Given:
        return {f.name: f.default for f in self.fields.values() if f.name not in given}


def _field(name: str, info: FieldInfo) -> EntityField:
    return EntityField(
        name=name,
        kind=FieldKind.EXPIRY if _marker(info, TimeToLive) else _kind(bare(info.annotation)),
        nullable=allows_none(info.annotation),
        default=None if info.default is PydanticUndefined else _stored(info.default),
        auto=info.default_factory is not None,
        unique=_marker(info, Unique) is not None,
        references=_marker(info, ForeignKey),
        milliseconds=_marker(info, Milliseconds) is not None,
        secret=_marker(info, Secret) is not None,
        doc=info.description or "",
    )


def _kind(annotation: Any) -> FieldKind:
    if get_origin(annotation) is list and bare(get_args(annotation)[0]) is str:
        return FieldKind.TEXTS
    return _KINDS.get(annotation, FieldKind.JSON)


def _record(annotation: Any) -> type[Record] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Record) else None


def _marker(info: FieldInfo, kind: type[Marker]) -> Marker | None:
    return next((marker for marker in info.metadata if isinstance(marker, kind)), None)


def _stored(value: Any) -> Any:
    match value:
        case Reference():
            return value.value
        case BaseModel():
            return value.model_dump()
        case list():
            return [_stored(item) for item in value]
        case _:
            return value


def _as_json(value: Any) -> Any:
    """Return a value as JSON has it, in the spelling that it is read from."""
    match value:
        case UUID():
            return str(value)
        case datetime():
            return whole(round(value.timestamp(), 3))
        case list():
            return [_as_json(item) for item in value]
        case dict():
            return {name: _as_json(below) for name, below in value.items()}
        case _:
            return value


def _merged(model: type[BaseModel], stored: Given, given: Given) -> Given:
    """Return ``stored`` with ``given`` over it, those fields that are records merged likewise."""
    merged = stored | given
    for name in stored.keys() & given.keys() & model.model_fields.keys():
        below = _record(bare(model.model_fields[name].annotation))
        if below and isinstance(stored[name], Mapping) and isinstance(given[name], Mapping):
            merged[name] = _merged(below, stored[name], given[name])
    return merged

"""A declaration as plain data: the tree that every schema and document is rendered from.

It tells of a field what pydantic's own schema cannot: Kong's rules, references, sets, what is
unique, secret or made by the server.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from gateway.entities.annotations import allows_none
from gateway.entities.entity import ForeignKey, Reference, Secret, Unique
from gateway.entities.rules import OneOf, Rule, Unrepeated
from gateway.entities.types import IsUuid, Milliseconds

T = TypeVar("T")


class Kind(StrEnum):
    """What a value is, in Kong's words; JSON is what nothing more is known of."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array"
    SET = "set"
    MAP = "map"
    RECORD = "record"
    FOREIGN = "foreign"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What a value may be.

    ``element`` is each of a list or of a map's values, ``key`` each of a map's keys, ``fields``
    are those of a record.
    """

    kind: Kind
    nullable: bool = False
    rules: tuple[Rule, ...] = ()
    is_uuid: bool = False
    is_timestamp: bool = False
    element: Value | None = None
    key: Value | None = None
    fields: tuple[Field, ...] = ()
    reference: ForeignKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of an entity or of a record.

    ``default`` is what an absent field gets, as the API writes it; an ``auto`` one gets a value
    that the server makes.
    """

    name: str
    value: Value
    doc: str
    default: Any
    auto: bool
    unique: bool
    secret: bool

    @property
    def required(self) -> bool:
        """Whether null is refused."""
        return not self.value.nullable and not self.auto

    @property
    def must_be_given(self) -> bool:
        """Whether a new entity without it is refused."""
        return self.required and self.default is None


def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """Return the declared fields of an entity or a record, in their order."""
    return tuple(_field(name, info) for name, info in model.model_fields.items())


def _field(name: str, info: FieldInfo) -> Field:
    factory = info.default_factory
    constant = factory if isinstance(factory, type) else None  # as `dict`; `uuid4` is a function
    return Field(
        name=name,
        value=_value(info.annotation, info.metadata),
        doc=info.description or "",
        default=_as_json(constant() if constant else info.default),
        auto=factory is not None and constant is None,
        unique=_first(info.metadata, Unique) is not None,
        secret=_first(info.metadata, Secret) is not None,
    )


def _as_json(default: Any) -> Any:
    if isinstance(default, BaseModel):
        default = default.model_dump()  # for JSON it would write 1 as 1.0 in a field for numbers
    return None if default is PydanticUndefined else to_jsonable_python(default)


def _value(annotation: Any, metadata: Iterable[Any] = ()) -> Value:
    bare, marks, nullable = _unwrapped(annotation, metadata)
    rules = tuple(mark for mark in marks if isinstance(mark, Rule))
    origin, arguments = get_origin(bare), get_args(bare)
    if origin is list:
        kind = Kind.SET if _first(rules, Unrepeated) else Kind.ARRAY
        return Value(kind=kind, nullable=nullable, rules=rules, element=_value(arguments[0]))
    if origin is dict:
        key, element = map(_value, arguments)
        return Value(kind=Kind.MAP, nullable=nullable, rules=rules, key=key, element=element)
    if origin is Literal:
        kind = _SCALARS.get(type(arguments[0]), Kind.JSON)
        return Value(kind=kind, nullable=nullable, rules=(OneOf(*arguments), *rules))
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return Value(kind=Kind.RECORD, nullable=nullable, rules=rules, fields=fields_of(bare))
    return Value(
        kind=Kind.NUMBER if _first(marks, Milliseconds) else _SCALARS.get(bare, Kind.JSON),
        nullable=nullable or bare is Any,
        rules=rules,
        is_uuid=bare is UUID or _first(marks, IsUuid) is not None,
        is_timestamp=bare is datetime,
        reference=_first(marks, ForeignKey),
    )


_SCALARS: dict[Any, Kind] = {
    str: Kind.STRING,
    UUID: Kind.STRING,
    int: Kind.INTEGER,
    datetime: Kind.INTEGER,
    float: Kind.NUMBER,
    bool: Kind.BOOLEAN,
    Reference: Kind.FOREIGN,
}


def _unwrapped(annotation: Any, metadata: Iterable[Any]) -> tuple[Any, list[Any], bool]:
    """Return the type within ``Annotated`` and ``| None``, all that marks it, and if it has None.

    What stands closer to the type comes first, as its rules run first.
    """
    marks, nullable = list(metadata), False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *closer = get_args(annotation)
            marks = [*closer, *marks]
        elif allows_none(annotation):
            nullable = True
            others = [arg for arg in get_args(annotation) if arg is not NoneType]
            annotation = others[0] if len(others) == 1 else Any
        else:
            return annotation, marks, nullable


def _first(marks: Iterable[Any], kind: type[T]) -> T | None:
    return next((mark for mark in marks if isinstance(mark, kind)), None)

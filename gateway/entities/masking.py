"""What of a record may be shown to those who do not use it: secrets become asterisks."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.entities.entity import Record, Secret

MASK = "******"


def masked(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record, as JSON has it, with asterisks for its secrets; null stays null.

    Asterisks also for what may be one: fields that are not declared, and what has another shape
    than the record that is declared with secrets in it.
    """
    fields = model.model_fields
    return {name: _masked_field(fields.get(name), value) for name, value in values.items()}


def _masked_field(field: FieldInfo | None, value: Any) -> Any:
    if value is None:
        return None
    if field is None or _is_marked(field.metadata):
        return MASK
    return _masked_value(field.annotation, value)


def _masked_value(annotation: Any, value: Any) -> Any:
    shape = _without_wrapping(annotation)
    arguments = get_args(shape)
    match value:
        case None:
            return None
        case dict() if _is_record(shape):
            return masked(shape, value)
        case dict() if get_origin(shape) is dict:
            return {name: _masked_value(arguments[1], below) for name, below in value.items()}
        case list() if get_origin(shape) is list:
            return [_masked_value(arguments[0], below) for below in value]
        case _:
            return MASK if _has_secrets(shape) else value


def _without_wrapping(annotation: Any) -> Any:
    """Return a type without its rules and its ``None``, if it is one type then and no secret."""
    arguments = get_args(annotation)
    others = [argument for argument in arguments if argument is not NoneType]
    if get_origin(annotation) is Annotated and not _is_marked(annotation.__metadata__):
        return _without_wrapping(arguments[0])
    if NoneType in arguments and len(others) == 1:
        return _without_wrapping(others[0])
    return annotation


def _has_secrets(annotation: Any) -> bool:
    arguments = get_args(annotation)
    if _is_record(annotation):
        fields = annotation.model_fields.values()
        return any(_is_marked(f.metadata) or _has_secrets(f.annotation) for f in fields)
    if get_origin(annotation) is Annotated:
        return _is_marked(annotation.__metadata__) or _has_secrets(arguments[0])
    return any(map(_has_secrets, arguments))


def _is_marked(metadata: Any) -> bool:
    return any(isinstance(marker, Secret) for marker in metadata)


def _is_record(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Record)

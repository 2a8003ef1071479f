"""Form bodies as entities: names with dots and brackets become nested fields, texts become values.

What a name means depends on the declared type of the field it leads to. Sheet: admin-api.md,
section 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from gateway.entities import Given
from gateway.entities.annotations import bare

DEEPEST_NAME = 16
"""Steps of a name; one with more is taken as a whole, which no field is called.

What takes names apart, and what walks down what they lead to, need not fear long ones then.
"""

_NAME = re.compile(r"[^.\[\]]+(\.[^.\[\]]+|\[[^\[\]]*\])*")
_STEP = re.compile(r"\[([^\[\]]*)\]|([^.\[\]]+)")
_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")
_INDEX = re.compile(r"[0-9]{0,9}")
_BOOLEANS = {"true": True, "false": False}


@dataclass(slots=True)
class _Node:
    """What was sent under one name, and under the names below it."""

    texts: list[str] = field(default_factory=list)
    below: dict[str, _Node] = field(default_factory=dict)


def decode_form(model: type[BaseModel], pairs: Iterable[tuple[str, str]]) -> Given:
    """Return the fields that the (name, text) pairs stand for.

    A text that is no value of its field's type stays a text, for validation to refuse.
    """
    root = _Node()
    for name, text in pairs:
        node = root
        for step in _steps(name):
            node = node.below.setdefault(step, _Node())
        node.texts.append(text)
    return _fields(root, model)


def _steps(name: str) -> list[str]:
    if name.count(".") + name.count("[") >= DEEPEST_NAME or not _NAME.fullmatch(name):
        return [name]
    return [bracketed if dotted == "" else dotted for bracketed, dotted in _STEP.findall(name)]


def _value(node: _Node, annotation: Any) -> Any:
    kind = bare(annotation)
    if get_origin(kind) is list:
        return _elements(node, get_args(kind)[0])
    if not node.below:
        return _single(node.texts, kind)
    if get_origin(kind) is dict:
        return {key: _value(below, get_args(kind)[1]) for key, below in node.below.items()}
    return _fields(node, kind)


def _fields(node: _Node, kind: Any) -> dict[str, Any]:
    declared = kind.model_fields if _is_model(kind) else {}
    return {
        name: _value(below, declared[name].annotation if name in declared else str)
        for name, below in node.below.items()
    }


def _elements(node: _Node, element: Any) -> Any:
    if node.texts == [""] and not node.below:
        return None
    if not all(map(_INDEX.fullmatch, node.below)):
        return _fields(node, None)
    unnumbered = node.below.pop("", _Node())
    values = [_scalar(text, bare(element)) for text in (*node.texts, *unnumbered.texts)]
    return values + [_value(node.below[index], element) for index in sorted(node.below, key=int)]


def _single(texts: list[str], kind: Any) -> Any:
    values = [_scalar(text, kind) for text in texts]
    return values[0] if len(values) == 1 else values


def _scalar(text: str, kind: Any) -> Any:
    if text == "":
        return None
    if kind is bool:
        return _BOOLEANS.get(text, text)
    if kind in (int, float, datetime) and _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    return text


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)

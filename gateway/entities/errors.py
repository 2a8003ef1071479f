"""How a refused entity is told: pydantic's findings as Kong's tree of field errors and message.

The only place where the two meet; shapes and texts: reference sheet admin-api.md, section 7.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails, PydanticCustomError

ENTITY = "@entity"
"""Key under which the errors of a whole entity (not of one field) stand, as a list of texts."""

REQUIRED = "required field missing"

Tree = dict[str, Any]
"""Field name to text, to a nested tree, or to a list with ``None`` at the good positions."""

_TEXTS = {
    "missing": REQUIRED,
    "extra_forbidden": "unknown field",
    "string_type": "expected a string",
    "string_unicode": "invalid utf-8 character sequence in the name of a field",
    "bool_type": "expected a boolean",
    "int_type": "expected an integer",
    "float_type": "expected a number",
    "finite_number": "expected a number",
    "list_type": "expected an array",
    "dict_type": "expected a map",
    "model_type": "expected a record",
    "model_attributes_type": "expected a record",
    "invalid_key": "expected a string",
}


class SchemaViolationError(Exception):
    """An entity that its declaration refuses; ``fields`` is the tree, ``str()`` the message."""

    def __init__(self, fields: Tree) -> None:
        super().__init__(_message(fields))
        self.fields = fields


def violation(text: str, *, at: str | None = None) -> PydanticCustomError:
    """Return what a validator raises to refuse its value with ``text``.

    ``at`` is the key below the value that the text belongs to, :data:`ENTITY` among them.
    """
    return PydanticCustomError("rule", "{text}", {"text": text, "at": at})


def error_text(error: ErrorDetails) -> str:
    """Return Kong's text for one of pydantic's findings."""
    if error["input"] is None and error["type"] != "extra_forbidden":
        return REQUIRED
    return _TEXTS.get(error["type"], error["msg"])


def error_tree(errors: Iterable[ErrorDetails]) -> Tree:
    """Return pydantic's findings as one tree that mirrors the entity."""
    tree: Tree = {}
    for error in errors:
        at = ENTITY if error["type"] == "string_unicode" else error.get("ctx", {}).get("at")
        text = error_text(error)
        place = (error["loc"] if at is None else (*error["loc"], at)) or (ENTITY,)
        # Also a field that a client calls "@entity" stands among the errors of the entity.
        _put(tree, place, [text] if place[-1] == ENTITY else text)
    return tree


def lua_dump(value: Any) -> str:
    """Return ``value`` as Kong writes it inside messages: ``{name="x",service={id="…"}}``."""
    if isinstance(value, Mapping):
        return _lua_table(f"{_lua_key(key)}={lua_dump(value[key])}" for key in sorted(value))
    if isinstance(value, list):
        return _lua_table(_lua_items(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    return f'"{value}"'


def _put(tree: Tree, location: Sequence[str | int], found: Any) -> None:
    branch: Any = tree
    for step, following in itertools.pairwise(location):
        branch = _branch(branch, step, [] if isinstance(following, int) else {})
    _branch(branch, location[-1], found)


def _branch(parent: Any, step: str | int, empty: Any) -> Any:
    if isinstance(step, str):
        return parent.setdefault(step, empty)
    parent.extend([None] * (step + 1 - len(parent)))
    if parent[step] is None:
        parent[step] = empty
    return parent[step]


def _message(fields: Tree) -> str:
    lines = [*fields.get(ENTITY, ()), *_field_lines(fields)]
    violations = "schema violation" if len(lines) == 1 else f"{len(lines)} schema violations"
    return f"{violations} ({'; '.join(lines)})"


def _field_lines(fields: Tree) -> Iterable[str]:
    for name in sorted(fields.keys() - {ENTITY}):
        found = fields[name]
        if isinstance(found, str):
            yield f"{name}: {found}"
        else:
            yield from (f"{name}.{key}: {_one_line(below)}" for key, below in _below(found))


def _below(found: Tree | list[Any]) -> Iterable[tuple[str | int, Any]]:
    if isinstance(found, list):
        return ((index, below) for index, below in enumerate(found, 1) if below is not None)
    return sorted(found.items())


def _one_line(found: Any) -> str:
    return found if isinstance(found, str) else lua_dump(found)


def _lua_table(items: Iterable[str]) -> str:
    return "{" + ",".join(items) + "}"


def _lua_key(key: str) -> str:
    return key if key.isidentifier() else f'["{key}"]'


def _lua_items(values: list[Any]) -> Iterable[str]:
    if None not in values:
        return (lua_dump(value) for value in values)
    return (f"[{i}]={lua_dump(value)}" for i, value in enumerate(values, 1) if value is not None)

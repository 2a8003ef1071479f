"""How a refused file is told to clients: code 14. Reference sheet decl-config.md, section A3."""

from __future__ import annotations

from typing import Any

from gateway.declarative.bounds import ReadError
from gateway.declarative.problems import InvalidConfigError
from gateway.entities.errors import Tree, lua_dump

MOST_MESSAGE_CHARACTERS = 4096


def unreadable_config(error: ReadError) -> dict[str, Any]:
    """Return the answer to a text that is no document."""
    return _invalid(str(error), {"error": str(error)})


def invalid_config(error: InvalidConfigError, *, flatten: bool) -> dict[str, Any]:
    """Return the answer to a document that declares nothing valid.

    With ``flatten`` the problems of entities are a list beside the tree.
    """
    tree = error.tree()
    answer = _invalid(lua_dump(tree), tree) | {"text": str(error)}
    return answer | {"flattened_errors": error.flattened()} if flatten else answer


def _invalid(reason: str, fields: Tree) -> dict[str, Any]:
    if len(reason) > MOST_MESSAGE_CHARACTERS:
        reason = f"{reason[:MOST_MESSAGE_CHARACTERS]}…"
    return {
        "code": 14,
        "name": "invalid declarative configuration",
        "message": f"declarative config is invalid: {reason}",
        "fields": fields,
    }

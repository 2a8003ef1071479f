"""What is wrong with the config of a plugin, as the Admin API tells it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from gateway.entities.errors import Tree, error_tree
from gateway.plugins.contract import Plugin


def problems(kind: type[Plugin], config: dict[str, Any]) -> Tree:
    """Return the tree of errors, empty if the config may stand."""
    try:
        kind.Config.model_validate(config)
    except ValidationError as error:
        return error_tree(error.errors(include_url=False))
    return {}

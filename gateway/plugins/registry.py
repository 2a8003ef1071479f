"""Which plugins this node has: those that installed packages declare as entry points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypeAlias

import structlog

if TYPE_CHECKING:  # a plugin's Config is made of what entities are made of
    from gateway.plugins import contract

    Plugin: TypeAlias = type[contract.Plugin]

GROUP = "gateway.plugins"

_log = structlog.get_logger(__name__)


@cache
def present() -> Mapping[str, Plugin]:
    """Return the plugins by name. One that cannot be imported is named in the log and left out."""
    loaded = (_load(entry_point) for entry_point in entry_points(group=GROUP))
    return {plugin.name: plugin for plugin in loaded if plugin is not None}


def _load(entry_point: EntryPoint) -> Plugin | None:
    try:
        plugin: Plugin = entry_point.load()
    except Exception as error:  # noqa: BLE001 - somebody else's code
        _log.error("a plugin cannot be loaded", plugin=entry_point.name, error=repr(error))
        return None
    return plugin

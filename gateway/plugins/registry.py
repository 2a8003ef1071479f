"""Which plugins this node has: those that installed packages declare as entry points."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeAlias

import structlog

# As a module: a plugin's Config is made of what entities are made of, and they ask for plugins.
from gateway.plugins import contract

Plugin: TypeAlias = "type[contract.Plugin]"

GROUP = "gateway.plugins"

_log = structlog.get_logger(__name__)


@cache
def present() -> Mapping[str, Plugin]:
    """Return the plugins by name, as they were when this was asked first."""
    return found(entry_points(group=GROUP))


def found(declared: Iterable[EntryPoint]) -> Mapping[str, Plugin]:
    """Return the plugins that entry points lead to, by name.

    One that cannot be imported, does not keep the contract, or has the name of one before it, is
    told in the log and left out.
    """
    plugins: dict[str, Plugin] = {}
    for entry_point in declared:
        try:
            plugin = _loaded(entry_point, plugins)
        except Exception as error:  # noqa: BLE001 - somebody else's code
            reason = str(error) if isinstance(error, contract.ContractError) else repr(error)
            where = f"{entry_point.name} = {entry_point.value}"
            _log.error("a plugin is left out", entry_point=where, reason=reason)
        else:
            plugins[plugin.name] = plugin
    return plugins


def _loaded(entry_point: EntryPoint, taken: Container[str]) -> Plugin:
    plugin = contract.checked(entry_point.load())
    if plugin.name in taken:
        raise contract.ContractError(f"there is another plugin with the name {plugin.name!r}")
    return plugin

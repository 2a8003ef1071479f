"""Which plugins this node has: those of installed packages, and those in directories.

Packages declare theirs as entry points; the setting `plugin_path` names the directories.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeAlias

import structlog

# As a module: a plugin's Config is made of what entities are made of, and they ask for plugins.
from gateway.plugins import contract
from gateway.plugins.directories import modules_in
from gateway.settings import SharedSettings, named, plugin_directories, plugin_priorities

Plugin: TypeAlias = "type[contract.Plugin]"

GROUP = "gateway.plugins"

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Settings:
    """What this process was told about its plugins."""

    directories: Sequence[Path] = ()
    priorities: Mapping[str, int] = field(default_factory=dict)


_settings = _Settings()


def configure(settings: SharedSettings) -> None:
    """Let `present` follow these settings from now on; to be said before anything is served."""
    _settings.directories = plugin_directories(settings.plugin_path)
    _settings.priorities = plugin_priorities(settings.plugin_priorities)
    present.cache_clear()


@cache
def present() -> Mapping[str, Plugin]:
    """Return the plugins by name, as they were when this was asked first."""
    plugins = found(entry_points(group=GROUP), _settings.directories)
    return _ranked(plugins, _settings.priorities)


def found(
    installed: Iterable[EntryPoint], directories: Iterable[Path] = ()
) -> Mapping[str, Plugin]:
    """Return the plugins that entry points lead to, and those in directories, by name.

    One that cannot be imported, does not keep the contract, or has the name of one before it, is
    told in the log and left out.
    """
    plugins: dict[str, Plugin] = {}
    for entry_point in installed:
        with _left_out(entry_point=f"{entry_point.name} = {entry_point.value}"):
            _add(plugins, entry_point.load())
    for directory in directories:
        _add_all_in(directory, plugins)
    return plugins


def _add_all_in(directory: Path, plugins: dict[str, Plugin]) -> None:
    with _left_out(directory=str(directory)):
        for module in modules_in(directory):
            with _left_out(file=str(module.path)):
                for plugin in module.plugins():
                    with _left_out(file=str(module.path), plugin=plugin.__qualname__):
                        _add(plugins, plugin)


def _add(plugins: dict[str, Plugin], candidate: object) -> None:
    plugin = contract.checked(candidate)
    if plugin.name in plugins:
        raise contract.ContractError(f"there is another plugin with the name {plugin.name!r}")
    plugins[plugin.name] = plugin


@contextmanager
def _left_out(**where: str) -> Iterator[None]:
    """Go on without what fails to be a plugin, and tell where that is and why."""
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody else's code
        reason = str(error) if isinstance(error, contract.ContractError) else repr(error)
        _log.error("a plugin is left out", **where, reason=reason)


def _ranked(plugins: Mapping[str, Plugin], priorities: Mapping[str, int]) -> Mapping[str, Plugin]:
    """Return the plugins, some with another priority than their own."""
    if unknown := sorted(priorities.keys() - plugins.keys()):
        setting = named("plugin_priorities")
        _log.warning("no such plugins to give a priority to", plugins=unknown, setting=setting)
    return {
        name: _with_priority(plugin, priorities[name]) if name in priorities else plugin
        for name, plugin in plugins.items()
    }


def _with_priority(plugin: Plugin, priority: int) -> Plugin:
    """Return a plugin that is the given one, but for its priority."""
    same = ("__doc__", "__module__", "__qualname__")
    members = {name: getattr(plugin, name) for name in same} | {"priority": priority}
    derived: Plugin = types.new_class(
        plugin.__name__, (plugin,), exec_body=lambda namespace: namespace.update(members)
    )
    return derived

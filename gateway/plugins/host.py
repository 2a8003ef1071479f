"""Makes plugins out of rows, and keeps what objects of one plugin share on this node."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

import structlog
from prometheus_client.core import Metric
from pydantic import ValidationError

from gateway.commands import Commands
from gateway.entities.errors import SchemaViolationError, error_tree
from gateway.metrics.traffic import TrafficMetrics
from gateway.plugins import registry
from gateway.plugins.chain import RunningPlugin
from gateway.plugins.contract import Measured, NodeServices, Plugin, Use
from gateway.plugins.counter_store import CounterStore
from gateway.settings import MissingPluginAction, NodeSettings

_log = structlog.get_logger(__name__)

_STOP_S = 2.0
"""How long background work of plugins may take to end."""


class SkippedError(ValueError):
    """A plugin cannot run, and requests are to be served without it."""


class PluginHost:
    """The plugins of one node; ``present`` are those that there are, by name."""

    def __init__(
        self,
        settings: NodeSettings,
        commands: Commands,
        traffic: TrafficMetrics,
        present: Mapping[str, type[Plugin]] | None = None,
        counters: CounterStore | None = None,
    ) -> None:
        self._present = registry.present() if present is None else present
        self._services = NodeServices(settings, self._begin, commands.handle, traffic, counters)
        self._shared: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def make(self, row: Mapping[str, Any]) -> RunningPlugin:
        """Return the plugin that a row of ``plugins`` asks for.

        Raises ValueError, SkippedError if what it is for shall be served without it.
        """
        kind = self._present.get(row["name"])
        if kind is None:
            problem = f"plugin {row['name']!r} is not present on this node"
            if self._services.settings.missing_plugin_action is MissingPluginAction.SKIP:
                raise SkippedError(f"{problem}: what it is for is served without it")
            raise ValueError(problem)
        try:
            config = kind.Config.model_validate(row["config"])
        except ValidationError as error:
            tree = error_tree(error.errors(include_url=False))
            raise ValueError(str(SchemaViolationError({"config": tree}))) from None
        use = Use(row["id"], row["name"], row["route_id"], row["service_id"], row["consumer_id"])
        return RunningPlugin(kind(config, use, self._shared_by(kind)))

    def _shared_by(self, kind: type[Plugin]) -> Any:
        if kind.name not in self._shared:
            self._shared[kind.name] = kind.share(self._services)
        return self._shared[kind.name]

    def shared(self, name: str) -> Any:
        """Return what the objects of a plugin share, None as long as there are none."""
        return self._shared.get(name)

    def metrics(self) -> Iterable[Metric]:
        """Return what the plugins tell, each family once; one that fails to tell is logged."""
        families: dict[str, Metric] = {}
        for name, shared in self._shared.items():
            if isinstance(shared, Measured):
                try:
                    for family in list(shared.metrics()):
                        _add(families, family)
                except Exception:  # noqa: BLE001 - a plugin's, whatever it is
                    _log.exception("a plugin cannot tell its metrics", plugin=name)
        return families.values()

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run work of a plugin in the background until it ends, or the node does."""
        task = asyncio.create_task(work, name=f"plugin-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._on_ended)

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background work of a plugin failed", task=task.get_name(), exc_info=error)

    async def stop(self) -> None:
        """End the background work of all plugins; what is cancelled may still finish up."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_S)


def _add(families: dict[str, Metric], family: Metric) -> None:
    """Add to the family of that name. Raises ValueError if that is of another type."""
    known = families.get(family.name)
    if known is None:
        known = families[family.name] = Metric(family.name, family.documentation, family.type)
    if known.type != family.type:
        raise ValueError(f"{family.name} is a {known.type} elsewhere, not a {family.type}")
    known.samples.extend(family.samples)

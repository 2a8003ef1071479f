"""Plugins of a snapshot: those that run, and those whose requests must not be served without them.

To leave out a plugin that checks who comes in would open a door. So what it is for is closed,
unless the node is told to do without plugins that it does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from immutables import Map

from gateway.plugins.chain import Chain, RunningPlugin, Scope, Uses, slots_of
from gateway.plugins.host import SkippedError
from gateway.plugins.identity import Directory
from gateway.snapshot.compiled import Route

Row = Mapping[str, Any]
Place = tuple[str, Scope]
"""The name of a plugin, and what one of its objects is for."""


class InUse(NamedTuple):
    """How many objects of a plugin there are, and how many of them are for a consumer.

    ``logs``: they want to know how a request ended.
    """

    priority: int
    number: int
    of_consumers: int
    logs: bool


@dataclass(frozen=True, slots=True)
class Plugins:
    """The enabled plugins: those that run, by place; the names of those that cannot, by scope.

    ``names`` tells of the former, ``places`` and ``guard_scopes`` where to find either by id.
    """

    uses: Uses = field(default_factory=Map)
    names: Map[str, InUse] = field(default_factory=Map)
    places: Map[UUID, Place] = field(default_factory=Map)
    guards: Map[Scope, Map[UUID, str]] = field(default_factory=Map)
    guard_scopes: Map[UUID, Scope] = field(default_factory=Map)

    def missing_for(self, route: Route) -> str | None:
        """Return the name of a plugin that a route's requests must not go without, if any."""
        for scope in _scopes_of(route):
            guards = self.guards.get(scope)
            if guards is not None:
                return min(guards.values())
        return None

    def order(self) -> list[tuple[str, bool]]:
        """Return the plugins in the order they run, and whether any is for a consumer."""
        by_rank = sorted(self.names.items(), key=lambda item: (item[1].priority, item[0]))
        return [(name, in_use.of_consumers > 0) for name, in_use in reversed(by_rank)]

    @property
    def logs(self) -> bool:
        """Whether any wants to know how a request ended."""
        return any(in_use.logs for in_use in self.names.values())

    def chain(
        self, order: list[tuple[str, bool]], route: Route | None, directory: Directory
    ) -> Chain | None:
        """Return what a route's requests meet, None for nothing.

        Without a route, that is what is for all requests.
        """
        route_id, service_id = (None, None) if route is None else (route.id, route.service_id)
        slots = slots_of(self.uses, order, route_id, service_id)
        return Chain(slots, directory) if slots else None


class PluginsBuilder:
    """Makes the next plugins from those before; ``made`` and ``dropped`` are the difference."""

    def __init__(self, base: Plugins, make: Callable[[Row], RunningPlugin]) -> None:
        self._make = make
        self._uses = base.uses.mutate()
        self._names = base.names.mutate()
        self._places = base.places.mutate()
        self._guards = base.guards.mutate()
        self._guard_scopes = base.guard_scopes.mutate()
        self.made: list[RunningPlugin] = []
        self.dropped: list[RunningPlugin] = []

    def put(self, row: Row) -> None:
        """Take a row. Raises ValueError for a plugin that cannot run; what it is for is closed.

        Raises SkippedError for one that requests are served without.
        """
        self.remove(row["id"])
        if not row["enabled"]:
            return
        try:
            use = self._make(row)
        except SkippedError:
            raise
        except Exception as error:  # noqa: BLE001 - a plugin's own code
            raise ValueError(f"{error}{self._guard(row)}") from None
        place = use.plugin.name, use.scope
        self._drop(place)  # a row that comes later in this batch may have had it
        self._uses[place] = use
        self._places[row["id"]] = place
        self._count(use, 1)
        self.made.append(use)

    def remove(self, id_: UUID) -> None:
        """Take a plugin out, if it is there."""
        place = self._places.pop(id_, None)
        if place is not None and self._uses[place].plugin.use.id == id_:
            self._drop(place)
        scope = self._guard_scopes.pop(id_, None)
        if scope is not None:
            others = self._guards.pop(scope).delete(id_)
            if others:
                self._guards[scope] = others

    def finish(self) -> Plugins:
        """Return the plugins."""
        return Plugins(
            self._uses.finish(),
            self._names.finish(),
            self._places.finish(),
            self._guards.finish(),
            self._guard_scopes.finish(),
        )

    def _drop(self, place: Place) -> None:
        use = self._uses.pop(place, None)
        if use is not None:
            self._count(use, -1)
            self.dropped.append(use)

    def _count(self, use: RunningPlugin, change: int) -> None:
        name = use.plugin.name
        before = self._names.pop(name, None)
        number, of_consumers = (0, 0) if before is None else before[1:3]
        if number + change:
            of_consumers += change if use.scope.consumer_id is not None else 0
            in_use = InUse(use.plugin.priority, number + change, of_consumers, use.log is not None)
            self._names[name] = in_use

    def _guard(self, row: Row) -> str:
        """Close what a plugin is for; return how the reason goes on.

        One for a consumer closes nothing: who a consumer is, another plugin has to find out.
        """
        if row["consumer_id"] is not None:
            return ""
        scope = Scope(row["route_id"], row["service_id"])
        others: Map[UUID, str] = self._guards.get(scope, Map())
        self._guards[scope] = others.set(row["id"], str(row["name"]))
        self._guard_scopes[row["id"]] = scope
        return ": what it is for answers 503"


def _scopes_of(route: Route) -> Iterator[Scope]:
    """Yield each scope that requests of a route are in, whoever they are from."""
    yield Scope()
    yield Scope(route.id)
    if route.service_id is not None:
        yield Scope(None, route.service_id)
        yield Scope(route.id, route.service_id)

"""Whether the protocols of plugins go with the routes of a file. Reference sheet plugins.md, 1.

Only what was said on purpose is judged, as in the Admin API: a dump names the protocols of every
plugin, and has to be taken back although a route may have changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.declarative.flat import Item
from gateway.declarative.problems import Problems
from gateway.entities.plugin import NO_ROUTES, NOT_THE_ROUTES, PLUGINS
from gateway.entities.route import ROUTES


def refuse_misfits(items: Sequence[Item], problems: Problems) -> None:
    """Name each plugin none of whose protocols is one of its route, or of its service's routes."""
    routes_of: dict[Item, list[Item]] = {}
    for item in items:
        if item.type is ROUTES and (service := item.parents.get("service")) is not None:
            routes_of.setdefault(service, []).append(item)
    for item in items:
        if item.type is PLUGINS and item.row is not None and not _has_default(item):
            problem = _misfit(item, routes_of)
            if problem is not None:
                problems.add(item.place, {"protocols": problem}, item.culprit())


def _has_default(plugin: Item) -> bool:
    default = PLUGINS.model_of(plugin.given).model_fields["protocols"].default
    return set(plugin.checked_row["protocols"]) == set(default)


def _misfit(plugin: Item, routes_of: dict[Item, list[Item]]) -> str | None:
    protocols = plugin.checked_row["protocols"]
    if "route" in plugin.parents:
        return None if _fits(protocols, [plugin.parents["route"]]) else NOT_THE_ROUTES
    service = plugin.parents.get("service")
    if service is None or "route" in plugin.outside:
        return None
    routes = routes_of.get(service, [])
    return None if not routes or _fits(protocols, routes) else NO_ROUTES


def _fits(protocols: Iterable[str], routes: Sequence[Item]) -> bool:
    """Tell whether one of these routes is for one of these protocols; one that is bad may be."""
    return any(
        route.row is None or not set(protocols).isdisjoint(route.row["protocols"])
        for route in routes
    )

"""Plugins that are asked for and do not run here: whose requests must not be served without them.

To leave out a plugin that checks who comes in would open a door. So what it is for is closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self
from uuid import UUID

from gateway.snapshot.compiled import Route


class PluginScope(NamedTuple):
    """The requests a plugin is for: those of a route, of a service, of both, or all."""

    route_id: UUID | None
    service_id: UUID | None

    @classmethod
    def all_of(cls, route: Route) -> Iterator[Self]:
        """Yield each scope that requests of a route are in."""
        yield cls(None, None)
        yield cls(route.id, None)
        if route.service_id is not None:
            yield cls(None, route.service_id)
            yield cls(route.id, route.service_id)


def guarded_scope(row: Mapping[str, Any]) -> PluginScope | None:
    """Return what a row of ``plugins`` closes; None for nothing.

    One for a consumer closes nothing: who a consumer is, another plugin has to find out.
    """
    if not row["enabled"] or row["consumer_id"] is not None:
        return None
    return PluginScope(row["route_id"], row["service_id"])


def compile_plugin(row: Mapping[str, Any]) -> None:
    """Compile a row of ``plugins``. Raises ValueError: plugins do not run in this release."""
    if row["enabled"]:
        closed = "" if guarded_scope(row) is None else ": what it is for answers 503"
        raise ValueError(f"plugin {row['name']!r} cannot run on this node{closed}")

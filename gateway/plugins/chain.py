"""Which plugins a request meets, and in which order (plugins.md sections 2 and 3).

Of each plugin at most one object runs: the enabled one with the most specific scope. What does not
depend on the consumer is settled once per route; who the consumer is may only turn out on the way,
so an object for a consumer is looked up when its plugin's turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from immutables import Map

from gateway.plugins.contract import Plugin
from gateway.plugins.identity import Directory


class Scope(NamedTuple):
    """What a plugin is limited to; without any of these it is for all requests."""

    route_id: UUID | None = None
    service_id: UUID | None = None
    consumer_id: UUID | None = None


Access: TypeAlias = Callable[[Any], Any]


class RunningPlugin:
    """An object of a plugin, with its phases ready to be called; None for those it has not."""

    __slots__ = ("access", "body_filter", "ended", "header_filter", "log", "plugin", "scope")

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        use = plugin.use
        self.scope = Scope(use.route_id, use.service_id, use.consumer_id)
        self.access: Access | None = getattr(plugin, "access", None)
        self.header_filter: Callable[[Any, Any], None] | None = getattr(
            plugin, "header_filter", None
        )
        self.body_filter: Callable[[Any, bytes, bool], bytes] | None = getattr(
            plugin, "body_filter", None
        )
        self.ended: Callable[[Any, Any], bool | None] | None = getattr(plugin, "ended", None)
        self.log: Callable[[Any, Any], None] | None = getattr(plugin, "log", None)


Uses: TypeAlias = Map[tuple[str, Scope], RunningPlugin]
"""All uses of a snapshot, by the plugin's name and scope."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one plugin: whose it is without a consumer, and where those with one are."""

    name: str
    anybodys: RunningPlugin | None
    route_id: UUID | None
    service_id: UUID | None
    of_consumers: Uses | None

    def choose(self, consumer_id: UUID) -> RunningPlugin | None:
        """Return whose turn it is with this consumer (plugins.md section 3)."""
        uses, anybodys = self.of_consumers, self.anybodys
        if uses is None:
            return anybodys
        for scope in _before_anybodys(self.route_id, self.service_id, consumer_id):
            if (found := uses.get((self.name, scope))) is not None:
                return found
        is_for_both = anybodys is not None and None not in anybodys.scope[:2]
        if is_for_both:
            return anybodys
        return uses.get((self.name, Scope(consumer_id=consumer_id)), anybodys)


def _before_anybodys(
    route_id: UUID | None, service_id: UUID | None, consumer_id: UUID
) -> Iterator[Scope]:
    if route_id is not None:
        if service_id is not None:
            yield Scope(route_id, service_id, consumer_id)
        yield Scope(route_id, None, consumer_id)
    if service_id is not None:
        yield Scope(None, service_id, consumer_id)


class Chain:
    """The plugins of one route, the highest priority first.

    ``slots`` are all of them, None when nothing depends on the consumer: then it is settled which
    objects take part. ``accessing`` are those that see the request, ``filtering`` those that see
    the response, ``logging`` those that hear of the end; all three are empty while ``slots`` are to
    be asked. ``filters`` and ``logs`` tell whether any may want to do the latter two.
    """

    __slots__ = ("accessing", "directory", "filtering", "filters", "logging", "logs", "slots")

    def __init__(self, slots: tuple[Slot, ...], directory: Directory) -> None:
        self.directory = directory
        is_settled = all(slot.of_consumers is None for slot in slots)
        found = (slot.anybodys for slot in slots if is_settled)
        uses = [use for use in found if use is not None]
        self.slots = None if is_settled else slots
        self.accessing = tuple((use, use.access) for use in uses if use.access is not None)
        self.filtering = tuple(use for use in uses if use.header_filter or use.body_filter)
        self.logging = tuple(use for use in uses if use.ended or use.log)
        self.filters = bool(self.filtering) or not is_settled
        self.logs = bool(self.logging) or not is_settled


def slots_of(
    uses: Uses,
    plugins: Iterable[tuple[str, bool]],
    route_id: UUID | None,
    service_id: UUID | None,
) -> tuple[Slot, ...]:
    """Return the slots of a route, those of no use left out.

    ``plugins`` are the names of those in use, in order, and whether any use is for a consumer.
    """
    slots = (
        Slot(
            name,
            _anybodys(uses, name, route_id, service_id),
            route_id,
            service_id,
            uses if has_consumers else None,
        )
        for name, has_consumers in plugins
    )
    return tuple(s for s in slots if s.anybodys is not None or s.of_consumers is not None)


def _anybodys(
    uses: Uses, name: str, route_id: UUID | None, service_id: UUID | None
) -> RunningPlugin | None:
    scopes = [Scope(route_id), Scope(None, service_id), Scope()]
    if route_id is not None and service_id is not None:
        scopes.insert(0, Scope(route_id, service_id))
    return next((found for scope in scopes if (found := uses.get((name, scope)))), None)

"""What a plugin is: a class that declares itself, with a method for each phase it takes part in.

It is found by its entry point in the group ``gateway.plugins``::

    class Maintenance(Plugin):
        name = "maintenance"
        priority = 500

        class Config(Record):
            message: Text = Field(default="back soon", description="What callers are told.")
            paths: list[Path] | None = Field(default=None, description="Which requests; null: all.")
            password: Annotated[Text | None, Secret()] = Field(default=None, description="…")

        config: Config

        def access(self, request: Request) -> Reply | None:
            return refuse(503, self.config.message)

The fields of ``Config`` are of the types in `gateway.entities.types`, of plain ones, and of lists,
maps and further `Record`s of these; rules from `gateway.entities.rules` stand in ``Annotated``.
Admin API, schemas and documents follow from it.

There is one object for each enabled entity, made anew when that changes. The phases, in their
order; each may be left out:

``access(request)``
    Before the request goes to its service. May change it, or end it by returning a `Reply`; None
    lets it go on. A coroutine function may wait for something else, within a deadline.
``header_filter(request, response)``
    Before the head of a response goes to the client, be it the service's or one of our own.
``body_filter(request, data, ended)``
    For each piece of a response's body; returns what goes to the client in its place.
``ended(request, outcome)``
    When the exchange is over: its `Outcome`, in short. Returns whether ``log`` is to hear of it.
``log(request, record)``
    When the exchange is over: all there is to tell of it, which takes ten times as long to say.

All but ``access`` are plain functions, and none may take long: while one runs, nothing else does.
``set_up()`` and ``clean_up()`` frame the time in which the object is in use. What is to outlive it,
counters or a queue, belongs into what ``share(node)`` returns once per node: it is ``self.shared``.
If that is `Measured`, the node's metrics tell what it counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeGuard,
    Union,
    get_args,
    get_origin,
    runtime_checkable,
)
from uuid import UUID

from prometheus_client.core import Metric

from gateway.commands import Handler
from gateway.entities.entity import Record
from gateway.entities.types import PROTOCOLS
from gateway.metrics.traffic import TrafficMetrics
from gateway.plugins.counter_store import CounterStore
from gateway.settings import NodeSettings

HTTP_PROTOCOLS = ("grpc", "grpcs", "http", "https")
SCOPES = frozenset({"route", "service", "consumer"})

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_PLAIN = frozenset({str, int, float, bool, UUID, datetime, NoneType, Any})


@dataclass(frozen=True, slots=True)
class Use:
    """The entity that an object of a plugin stands for, and what it is for."""

    id: UUID
    name: str
    route_id: UUID | None = None
    service_id: UUID | None = None
    consumer_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class NodeServices:
    """What a plugin may know of the node it runs on."""

    settings: NodeSettings
    begin: Callable[[str, Coroutine[Any, Any, None]], None]
    """Runs a named coroutine in the background; it is cancelled when the node stops."""
    on_command: Callable[[str, Handler], None]
    """Lets somebody carry out the commands of a name, which the Admin API gives to all nodes."""
    traffic: TrafficMetrics
    """What the node counts of requests."""
    counters: CounterStore | None = None
    """Counters that all nodes have in common; None on a node without the database."""


@runtime_checkable
class Measured(Protocol):
    """What has something to tell in the metrics of its node."""

    def metrics(self) -> Iterable[Metric]:
        """Return families of metrics, for one scrape; quickly, as nothing else runs meanwhile.

        The node puts its prefix before the names, which should begin with the plugin's. Plugins may
        add to the same family, if its type is the same.
        """
        ...


class Plugin:
    """Base of all plugins.

    Those of higher ``priority`` go first. ``Config`` is what may stand in ``config`` of an entity;
    ``scopes`` what an entity may be limited to, ``protocols`` what it may be for.
    """

    name: ClassVar[str]
    priority: ClassVar[int]
    version: ClassVar[str] = "1.0.0"
    scopes: ClassVar[Collection[str]] = SCOPES
    protocols: ClassVar[Collection[str]] = HTTP_PROTOCOLS

    class Config(Record):
        """A plugin with nothing to set."""

    def __init__(self, config: Any, use: Use, shared: Any = None) -> None:
        """Make ready to serve. A ``config`` that no code can run raises ValueError."""
        self.config = config
        self.use = use
        self.shared = shared

    @classmethod
    def share(cls, node: NodeServices) -> Any:
        """Return what all objects of this plugin on a node have in common."""
        del node

    def set_up(self) -> None:
        """Hear that requests may come from now on."""

    def clean_up(self) -> None:
        """Hear that no new request comes; those under way may still end."""


class ContractError(Exception):
    """What was found is no plugin; the message says why."""


def checked(found: object) -> type[Plugin]:
    """Return what was found if it is a plugin. Raises ContractError with all that is wrong."""
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise ContractError(f"{found!r} is no subclass of {__name__}.Plugin")
    problems = [*_problems(found), *_problems_of_config(found.Config)]
    if problems:
        raise ContractError("; ".join(problems))
    return found


def _problems(plugin: type[Plugin]) -> Iterator[str]:
    name, priority = getattr(plugin, "name", None), getattr(plugin, "priority", None)
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        yield f"name must be small letters and digits with '-' or '_' between, not {name!r}"
    if type(priority) is not int:
        yield f"priority must be an integer, not {priority!r}"
    if not (isinstance(plugin.version, str) and plugin.version):
        yield f"version must be a string, not {plugin.version!r}"
    if not _is_some_of(plugin.scopes, SCOPES):
        yield f"scopes must be some of {', '.join(sorted(SCOPES))}, not {plugin.scopes!r}"
    if not (_is_some_of(plugin.protocols, PROTOCOLS) and plugin.protocols):
        yield f"protocols must be some of {', '.join(PROTOCOLS)}, not {plugin.protocols!r}"


def _is_some_of(given: object, choices: Collection[str]) -> bool:
    if isinstance(given, str) or not isinstance(given, Collection):
        return False
    return all(member in choices for member in given)


def _problems_of_config(config: object) -> Iterator[str]:
    if not _is_record(config):
        yield f"Config must be a subclass of {Record.__module__}.Record, not {config!r}"
        return
    for name, field in config.model_fields.items():
        for part in _unwritable(field.annotation, (config,)):
            yield f"Config.{name} cannot be written as JSON: {part!r}"


def _unwritable(annotation: Any, within: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the parts of a type whose values JSON does not have; a record within itself is one."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _unwritable(arguments[0], within)
    elif origin in (Union, UnionType, list) or (origin is dict and _is_text(arguments[0])):
        for argument in arguments:
            yield from _unwritable(argument, within)
    elif _is_record(annotation) and annotation not in within:
        for field in annotation.model_fields.values():
            yield from _unwritable(field.annotation, (*within, annotation))
    elif origin is not Literal and annotation not in _PLAIN:
        yield annotation


def _is_text(annotation: Any) -> bool:
    return annotation is str or (
        get_origin(annotation) is Annotated and _is_text(get_args(annotation)[0])
    )


def _is_record(annotation: Any) -> TypeGuard[type[Record]]:
    return isinstance(annotation, type) and issubclass(annotation, Record)

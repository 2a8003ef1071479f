"""A client with decK's habits on the wire: it reads everything, compares, and writes the rest.

Sheet: decl-config.md, part C. The file is a nested state as decK's YAML files hold it; only the
parts of the format that these tests need are read.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

Entity = dict[str, Any]
State = dict[str, list[Entity]]

PARALLELISM = 10


@dataclass(frozen=True)
class Kind:
    """A kind of entity: where it is listed, when it is written, what tells it from others.

    One with ``below`` is written under the entity that the field refers to.
    """

    collection: str
    level: int
    key: tuple[str, ...]
    below: tuple[str, str] | None = None


KINDS = (
    Kind("certificates", 1, ("cert",)),
    Kind("ca_certificates", 1, ("cert",)),
    Kind("consumers", 1, ("username", "custom_id")),
    Kind("snis", 2, ("name",)),
    Kind("services", 2, ("name",)),
    Kind("upstreams", 2, ("name",)),
    Kind("key-auths", 2, ("key",), ("consumer", "key-auth")),
    Kind("basic-auths", 2, ("username",), ("consumer", "basic-auth")),
    Kind("hmac-auths", 2, ("username",), ("consumer", "hmac-auth")),
    Kind("jwts", 2, ("key",), ("consumer", "jwt")),
    Kind("acls", 2, ("consumer", "group"), ("consumer", "acls")),
    Kind("routes", 3, ("name",)),
    Kind("targets", 3, ("upstream", "target"), ("upstream", "targets")),
    Kind("plugins", 4, ("name", "service", "route", "consumer")),
)

LEVELS = (1, 2, 3, 4)

FURTHER = {
    **dict.fromkeys(("oauth2", "mtls-auths"), (404,)),
    **dict.fromkeys(("consumer_groups", "vaults", "keys", "key-sets", "partials"), (404, 403)),
    "filter-chains": (404, 400),
}
"""Lists that are asked for as well, and the statuses that mean that there are none (C3)."""

REFERENCES = {
    "certificate": "certificates",
    "client_certificate": "certificates",
    "consumer": "consumers",
    "service": "services",
    "route": "routes",
    "upstream": "upstreams",
}

NESTED = {
    "services": {"routes": ("routes", "service"), "plugins": ("plugins", "service")},
    "routes": {"plugins": ("plugins", "route")},
    "upstreams": {"targets": ("targets", "upstream")},
    "certificates": {"snis": ("snis", "certificate")},
    "consumers": {
        "plugins": ("plugins", "consumer"),
        "keyauth_credentials": ("key-auths", "consumer"),
        "basicauth_credentials": ("basic-auths", "consumer"),
        "hmacauth_credentials": ("hmac-auths", "consumer"),
        "jwt_secrets": ("jwts", "consumer"),
        "acls": ("acls", "consumer"),
    },
}

TYPED_DEFAULTS = ("services", "routes", "upstreams", "targets")
"""Entities whose defaults are read from their schemas (C4)."""

WITHOUT_ORDER = ("tags", "protocols", "ca_certificates")
_ORDERED_PROTOCOLS = "routes"


class DeckError(Exception):
    """A request that had to succeed did not."""


@dataclass(frozen=True)
class Change:
    """What one entity needs: ``create``, ``update``, ``delete``, or ``make room`` for one of its
    name that is to have another id."""

    operation: str
    kind: Kind
    entity: Entity

    def __str__(self) -> str:
        name = "/".join(str(self.entity.get(part)) for part in self.kind.key)
        return f"{self.operation} {self.kind.collection} {name}"


@dataclass
class Deck:
    """A client of one Admin API.

    :param tags: select tags: only entities with all of them are looked at; what is written gets
        them.
    :param page_size: what decK has no option for: it asks for a thousand.
    """

    http: httpx.AsyncClient
    tags: tuple[str, ...] = ()
    page_size: int = 1000
    trace: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and body of every request."""

    async def sync(self, file: Mapping[str, Any]) -> list[Change]:
        """Make the server what the file says; return what that took."""
        changes = await self.diff(file)

        async def do(step: Callable[[Change], Awaitable[None]], *operations: str) -> None:
            levels = LEVELS if step == self._write else LEVELS[::-1]
            for level in levels:
                ready = [c for c in changes if c.operation in operations and c.kind.level == level]
                await self._run(step(change) for change in ready)

        await do(self._delete, "make room")
        await do(self._write, "create", "update")
        await do(self._delete, "delete")
        return changes

    async def diff(self, file: Mapping[str, Any]) -> list[Change]:
        """Return how the server differs from the file."""
        root = await self._ask("GET", "/")
        if not re.match(r"\d+\.\d+", root["version"]):
            raise DeckError(f"version {root['version']!r} cannot be parsed")
        current = await self.read()
        wanted = flattened(file)
        await self._fill_defaults(wanted)
        return list(self._compare(current, wanted))

    async def read(self) -> State:
        """Read everything, all lists at once; targets once their upstreams are known."""
        kinds = [kind.collection for kind in KINDS if kind.collection != "targets"]
        every = [*kinds, *FURTHER]
        lists = await self._run(self._list(f"/{name}", self.tags) for name in every)
        state = dict(zip(every, lists, strict=True))
        pools = [f"/upstreams/{pool['id']}/targets" for pool in state["upstreams"]]
        targets = await self._run(self._list(path, ()) for path in pools)
        return state | {"targets": [target for page in targets for target in page]}

    # -- comparing

    def _compare(self, current: State, wanted: State) -> Iterator[Change]:
        """Yield the changes; wanted entities take over the ids of those they stand for."""
        for kind in KINDS:
            there = {entity["id"]: entity for entity in current[kind.collection]}
            by_key = {_key(kind, entity): entity for entity in there.values()}
            for entity in wanted.get(kind.collection, []):
                _resolve_references(entity, wanted, current)
                if self.tags:
                    entity["tags"] = sorted({*(entity.get("tags") or []), *self.tags})
                old = by_key.get(_key(kind, entity))
                if old is not None and entity.get("id", old["id"]) != old["id"]:
                    yield from _making_room(kind, old, current)
                    old = None
                old = there.get(entity.get("id", ""), old)
                entity["id"] = old["id"] if old else entity.get("id", str(uuid4()))
                if old is None:
                    yield Change("create", kind, entity)
                elif _comparable(kind, old) != _comparable(kind, entity):
                    yield Change("update", kind, entity | {"created_at": old["created_at"]})
            kept = {entity["id"] for entity in wanted.get(kind.collection, [])}
            for id_ in there.keys() - kept:
                yield Change("delete", kind, there[id_])

    async def _fill_defaults(self, wanted: State) -> None:
        plugins = sorted({plugin["name"] for plugin in wanted.get("plugins", [])})
        schemas = await self._run(self._ask("GET", f"/schemas/{t}") for t in TYPED_DEFAULTS)
        of_plugins = await self._run(self._ask("GET", f"/schemas/plugins/{n}") for n in plugins)
        for collection, schema in zip(TYPED_DEFAULTS, schemas, strict=True):
            for entity in wanted.get(collection, []):
                _merge(entity, _defaults(schema["fields"], nulls=False))
        schema_of = dict(zip(plugins, of_plugins, strict=True))
        for plugin in wanted.get("plugins", []):
            fields = {
                name: f
                for entry in schema_of[plugin["name"]]["fields"]
                for name, f in entry.items()
            }
            complete = {"config": _defaults(fields["config"]["fields"], nulls=True)}
            _merge(
                plugin, complete | {"protocols": fields["protocols"]["default"], "enabled": True}
            )

    # -- requests

    async def _write(self, change: Change) -> None:
        kind, entity = change.kind, dict(change.entity)
        if kind.collection == "certificates":
            there = await self._send("GET", f"/certificates/{entity['id']}")
            entity["snis"] = there.json()["snis"] if there.is_success else []
        path = _path(kind, entity)
        body = {name: value for name, value in entity.items() if value is not None}
        response = await self._send("PUT", path, body)
        if response.status_code == 404 and kind.collection == "targets":
            path = path.rpartition("/")[0]
            response = await self._send("POST", path, body)
        stored = _success(response)
        if stored["id"] != entity["id"]:
            raise DeckError(f"{path} was stored as {stored['id']}")

    async def _delete(self, change: Change) -> None:
        _success(await self._send("DELETE", _path(change.kind, change.entity)))

    async def _list(self, path: str, tags: tuple[str, ...]) -> list[Entity]:
        query = {"size": str(self.page_size)} | ({"tags": ",".join(tags)} if tags else {})
        found: list[Entity] = []
        while True:
            response = await self._send("GET", f"{path}?{httpx.QueryParams(query)}")
            if response.status_code in FURTHER.get(path[1:], ()):
                return []
            page = _success(response)
            found += page["data"]
            if not page.get("offset"):
                return found
            query["offset"] = page["offset"]

    async def _ask(self, method: str, path: str) -> Any:
        return _success(await self._send(method, path))

    async def _send(self, method: str, path: str, body: Entity | None = None) -> httpx.Response:
        self.trace.append((method, path, body))
        return await self.http.request(method, path, json=body)

    async def _run(self, steps: Iterable[Awaitable[Any]]) -> list[Any]:
        """Do the steps, ten at a time."""
        free = asyncio.Semaphore(PARALLELISM)

        async def step(awaitable: Awaitable[Any]) -> Any:
            async with free:
                return await awaitable

        done = await asyncio.gather(*map(step, steps), return_exceptions=True)
        if errors := [result for result in done if isinstance(result, BaseException)]:
            raise errors[0]
        return done


# -- the file


def flattened(file: Mapping[str, Any]) -> State:
    """Return a nested state as lists; a child refers to its parent by the parent itself."""
    state: State = {}

    def add(collection: str, entity: Entity) -> None:
        entity = _without_url(entity)
        state.setdefault(collection, []).append(entity)
        for name, (below, reference) in NESTED.get(collection, {}).items():
            for child in entity.pop(name, []):
                add(below, child | {reference: entity})

    for name, entities in copy.deepcopy(dict(file)).items():
        if not name.startswith("_"):
            for entity in entities:
                add(name, entity)
    return state


def _without_url(entity: Entity) -> Entity:
    if "url" not in entity:
        return entity
    url = urlsplit(entity.pop("url"))
    port = url.port or (443 if url.scheme == "https" else 80)
    return {
        "protocol": url.scheme,
        "host": url.hostname,
        "port": port,
        "path": url.path or None,
    } | entity


def _resolve_references(entity: Entity, wanted: State, current: State) -> None:
    for name, collection in REFERENCES.items():
        match entity.get(name):
            case str(key):
                everywhere = [*wanted.get(collection, []), *current[collection]]
                parent = next(
                    e for e in everywhere if key in (e.get("name"), e.get("username"), e["id"])
                )
            case dict(parent):
                pass
            case _:
                continue
        entity[name] = {"id": parent["id"]}


# -- comparing


def _key(kind: Kind, entity: Entity) -> str:
    return repr([entity.get(part) for part in kind.key])


def _making_room(kind: Kind, old: Entity, current: State) -> Iterator[Change]:
    """Yield the deletion of an entity, and of routes, which would be in its way."""
    routes = next(kind for kind in KINDS if kind.collection == "routes")
    for route in current["routes"]:
        if kind.collection == "services" and route["service"] == {"id": old["id"]}:
            yield Change("make room", routes, route)
    yield Change("make room", kind, old)


def _comparable(kind: Kind, entity: Entity) -> Entity:
    """Return what is compared: no times, no nulls outside of a config, some lists without order."""
    ignored = {"created_at", "updated_at", "cert_digest"}
    ignored |= {"password"} if kind.collection == "basic-auths" else set()
    ignored |= {"snis"} if kind.collection == "certificates" else set()
    shown = {name: value for name, value in entity.items() if name not in ignored}
    result = _without_nulls(shown) | ({"config": shown["config"]} if "config" in shown else {})
    for name in WITHOUT_ORDER:
        if name in result and (kind.collection, name) != (_ORDERED_PROTOCOLS, "protocols"):
            result[name] = sorted(result[name])
    return {name: value for name, value in result.items() if (name, value) != ("tags", [])}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return value


def _defaults(fields: list[dict[str, Any]], *, nulls: bool) -> Entity:
    """Return what a schema says that absent fields are; with ``nulls``, also where it is silent."""
    defaults: Entity = {}
    for entry in fields:
        ((name, schema),) = entry.items()
        if "default" in schema:
            defaults[name] = schema["default"]
        elif schema["type"] == "record":
            defaults[name] = _defaults(schema["fields"], nulls=nulls)
        elif nulls:
            defaults[name] = None
    return defaults


def _merge(entity: Entity, defaults: Entity) -> None:
    """Give the entity the defaults for what it lacks, records field by field."""
    for name, value in copy.deepcopy(defaults).items():
        if name not in entity:
            entity[name] = value
        elif isinstance(entity[name], dict) and isinstance(value, dict):
            _merge(entity[name], value)


# -- requests


def _path(kind: Kind, entity: Entity) -> str:
    if kind.below is None:
        return f"/{kind.collection}/{entity['id']}"
    reference, nested = kind.below
    return f"/{REFERENCES[reference]}/{entity[reference]['id']}/{nested}/{entity['id']}"


def _success(response: httpx.Response) -> Any:
    if 200 <= response.status_code <= 399:
        return response.json() if response.content else None
    request = response.request
    raise DeckError(f"{request.method} {request.url.path}: {response.status_code} {response.text}")

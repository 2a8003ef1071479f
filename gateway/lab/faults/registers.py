"""The registers of a run: how numbers are written into a cluster and seen again from outside.

A key is a service, an upstream entity and a route, and a number can be written into each of them by
itself. One request then shows all three, because the upstream echoes what reached it:

- the service's number is the path put before the request's;
- the upstream entity's is the Host header;
- the route's is how much of the request's path it matches, and therefore takes away.

So a request that met the service of one version and the route of another gives itself away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.lab.faults.history import Register, Value, Values

SERVICES, UPSTREAMS, ROUTES = "services", "upstreams", "routes"
KINDS = (SERVICES, UPSTREAMS, ROUTES)

ROUTE_NUMBERS = 400
"""A route's path cannot tell more numbers apart: after so many they come again."""

_FILL = "x"
_ECHO = re.compile(rf"/s(?P<service>\d+)/?(?P<rest>{_FILL}*) h(?P<upstream>\d+)\.test(?::\d+)?")


def register(kind: str, key: str) -> Register:
    """Return the name of a register."""
    return f"{kind}/{key}"


def value(kind: str, number: int) -> str:
    """Return how a number shows in a register of this kind."""
    return str(number % ROUTE_NUMBERS if kind == ROUTES else number)


def fields(kind: str, key: str, number: int) -> dict[str, Any]:
    """Return the fields of the entity that carry a number, as the Admin API takes them."""
    if kind == SERVICES:
        return {"path": f"/s{number}"}
    if kind == UPSTREAMS:
        return {"host_header": f"h{number}.test"}
    return {"paths": [f"/{key}/{_FILL * (number % ROUTE_NUMBERS)}"], "service": {"name": key}}


def stored_value(kind: str, key: str, row: Mapping[str, Any] | None) -> Value:
    """Return the value that a row of the database carries; there may be no row."""
    if row is None:
        return None
    if kind == SERVICES:
        return str(row["path"]).removeprefix("/s")
    if kind == UPSTREAMS:
        return str(row["host_header"]).removeprefix("h").removesuffix(".test")
    return str(len(row["paths"][0]) - len(f"/{key}/"))


def request_path(key: str) -> str:
    """Return the path that shows a key: longer than any number of its route."""
    return f"/{key}/{_FILL * ROUTE_NUMBERS}"


def echo(path: str, host: str) -> str:
    """Return what the upstream answers to a request, for `seen` to read."""
    return f"{path} {host}"


def seen(key: str, status: int, body: str) -> Values:
    """Return what an answer shows: nothing, unless a route was met or there is none.

    An echo that is not one shows a service that nobody wrote.
    """
    if status == 404:
        return {register(ROUTES, key): None}
    if not 200 <= status < 300:
        return {}
    found = _ECHO.fullmatch(body)
    if found is None:
        return {register(SERVICES, key): body}
    return {
        register(SERVICES, key): found["service"],
        register(UPSTREAMS, key): found["upstream"],
        register(ROUTES, key): str(ROUTE_NUMBERS - len(found["rest"])),
    }

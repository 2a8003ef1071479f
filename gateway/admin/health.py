"""The health of upstream entities as this node sees it, and marks that all nodes heed.

Sheets: admin-api.md section 6, balancer.md section 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv6Address
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway import marks
from gateway.admin.actor import actor_of
from gateway.admin.commands import give
from gateway.admin.endpoint import Handler
from gateway.admin.errors import ApiError, not_found, plain
from gateway.admin.query import parse_query
from gateway.admin.resource import Paths, named, version_header
from gateway.admin.responses import JsonResponse, page_response
from gateway.admin.rows import Rows
from gateway.admin.targets import newest_first, target_key
from gateway.entities import Row
from gateway.entities.hosts import HostError, HostKind, parse_host
from gateway.entities.target import DEFAULT_PORT, TARGETS
from gateway.entities.upstream import UPSTREAMS
from gateway.snapshot.health_checks import compile_health_checks
from gateway.status.facts import NodeFacts
from gateway.status.health import AddressHealth, TargetHealth, UpstreamHealth, WeightHealth
from gateway.store.store import Store
from gateway.store.transactions import ReadTransaction

_TARGET = "/upstreams/{upstreams}/targets/{targets}"

Fields = dict[str, Any]


class HealthResource:
    """``/upstreams/{upstream}/health``; the view is that of the node that answers."""

    def __init__(self, store: Store, node: NodeFacts) -> None:
        self._store = store
        self._node = node
        self._upstreams = Rows(UPSTREAMS)
        self._targets = Rows(TARGETS)

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        return {"/upstreams/{upstreams}/health": {"GET": self.health}}

    async def health(self, request: Request) -> Response:
        """Tell how the targets of an upstream are, or with ``balancer_health`` how it is itself."""
        if parse_query(request.scope["query_string"]).get("balancer_health") == "1":
            return await self._of_upstream(request)
        return await self._of_targets(request)

    async def _of_upstream(self, request: Request) -> Response:
        async with self._store.read() as transaction:
            upstream = await named(transaction, self._upstreams, request)
        view = await self._node.health.of(upstream["id"])
        body: Fields = {"next": None, "node_id": self._node_id}
        if view is not None:
            body["data"] = await asyncio.to_thread(upstream_health, view)
        return JsonResponse(body)

    async def _of_targets(self, request: Request) -> Response:
        async with self._store.read() as transaction:
            upstream = await named(transaction, self._upstreams, request)
            scope = {"upstream_id": upstream["id"]}
            rows, further = await newest_first(transaction, request, scope)
        view = await self._node.health.of(upstream["id"])
        of_target = self._teller(view)
        return await page_response(rows, of_target, {**further, "node_id": self._node_id})

    def _teller(self, view: UpstreamHealth | None) -> Callable[[Row], Fields]:
        """Return what tells of a target; without a view it tells nothing of its health."""
        to_api = self._targets.to_api
        if view is None:
            return to_api
        known = {target.id: target for target in view.targets}
        return lambda row: to_api(row) | target_health(known.get(row["id"]))

    @property
    def _node_id(self) -> str:
        return str(self._node.identity.id)


class MarkResource:
    """``…/targets/{target}/healthy`` and ``/unhealthy``, also for one address of a target.

    What the database says decides, so that a mark comes after what it is about on every node.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._upstreams = Rows(UPSTREAMS)
        self._targets = Rows(TARGETS)

    def paths(self) -> Paths:
        """Return the handlers by path and method: PUT, and POST as before Kong 3."""
        return {
            f"{place}/{word}": {"PUT": handler, "POST": handler}
            for place in (_TARGET, f"{_TARGET}/{{address}}")
            for word, handler in self._marks().items()
        }

    def _marks(self) -> Mapping[str, Handler]:
        return {"healthy": self.mark_healthy, "unhealthy": self.mark_unhealthy}

    async def mark_healthy(self, request: Request) -> Response:
        """Let a target have traffic, on all nodes."""
        return await self._mark(request, marks.HEALTHY)

    async def mark_unhealthy(self, request: Request) -> Response:
        """Let a target have none."""
        return await self._mark(request, marks.UNHEALTHY)

    async def _mark(self, request: Request, mark: str) -> Response:
        segment = request.path_params.get("address")
        address = None if segment is None else read_address(segment)
        async with self._store.write(actor_of(request)) as transaction:
            target = await self._checked_target(transaction, request)
            await give(transaction, mark, target["id"], address=address)
        return Response(status_code=204, headers=version_header(transaction))

    async def _checked_target(self, transaction: ReadTransaction, request: Request) -> Row:
        """Return the target of the URL. Raises an answer if there is none, or no health."""
        upstream = await named(transaction, self._upstreams, request)
        where = {"upstream_id": upstream["id"]}
        target = await self._targets.find(transaction, target_key(request), where)
        if target is None:
            raise not_found()
        if not _is_checked(upstream):
            raise plain(400, f"no healthchecker found for {upstream['name']}")
        return target


def _is_checked(upstream: Row) -> bool:
    try:
        return compile_health_checks(upstream["healthchecks"], None) is not None
    except ValueError:  # SQL by hand: no node has such an upstream
        return False


def read_address(segment: str) -> str:
    """Return ``ip:port``, or ``[v6]:port``, in its one spelling. Raises an answer."""
    try:
        host = parse_host(segment)
    except HostError:
        raise _no_address(segment) from None
    if host.kind is HostKind.NAME:
        raise _no_address(segment)
    port = DEFAULT_PORT if host.port is None else host.port
    if host.kind is HostKind.IPV6:
        return f"[{IPv6Address(host.host).compressed}]:{port}"
    return f"{host.host}:{port}"


def _no_address(segment: str) -> ApiError:
    return plain(400, f"'{segment}' is no address: expected ip:port, as 10.0.0.1:8000 or [::1]:80")


# -- how health is told


def target_health(target: TargetHealth | None) -> Fields:
    """Return what is told of a target beside its fields; None: it is not in the balancer."""
    if target is None:
        return {"health": "DNS_ERROR"}
    addresses = [_address(address) | {"health": _word(address)} for address in target.addresses]
    return {
        "health": _sum_of_words(address["health"] for address in addresses),
        "data": _target(target, addresses),
    }


def upstream_health(view: UpstreamHealth) -> Fields:
    """Return what is told of an upstream as a whole."""
    word = "HEALTHY" if view.healthy else "UNHEALTHY"
    hosts = [
        _target(target, [_address(it) | {"healthy": it.available} for it in target.addresses])
        for target in view.targets
    ]
    return {
        "id": str(view.id),
        "health": word if view.checked else "HEALTHCHECKS_OFF",
        "balancer_health": word,
        "details": {"healthy": view.healthy, "weight": _weight(view.weights), "hosts": hosts},
    }


def _target(target: TargetHealth, addresses: list[Fields]) -> Fields:
    return {
        "host": target.host,
        "port": target.port,
        "dns": target.dns_error or target.record_type or "unknown",
        "nodeWeight": target.weight,
        "weight": _weight(target.weights),
        "addresses": addresses,
    }


def _address(address: AddressHealth) -> Fields:
    return {"ip": address.ip, "port": address.port, "weight": address.weight}


def _weight(weights: WeightHealth) -> Fields:
    return {
        "total": weights.total,
        "available": weights.available,
        "unavailable": weights.unavailable,
    }


def _word(address: AddressHealth) -> str:
    if address.state is None:
        return "HEALTHCHECKS_OFF"
    return "HEALTHY" if address.available else "UNHEALTHY"


def _sum_of_words(words: Iterable[str]) -> str:
    """Return what is said of a target with such addresses: the best that is known of any."""
    found = set(words)
    for word in ("HEALTHY", "UNHEALTHY", "HEALTHCHECKS_OFF"):
        if word in found:
            return word
    return "DNS_ERROR"

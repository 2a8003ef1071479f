"""An upstream entity with health checks, and what has become of the health of its targets."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from gateway.balancing import Endpoint
from gateway.entities import Row
from gateway.proxy.destinations import Destination
from gateway.status.health import HealthChange, UpstreamHealth
from tests.proxy.gateway import Gateway, Tables
from tests.proxy.peers import DEADLINE_S, Upstream
from tests.snapshot.rows import route, service, target
from tests.snapshot.rows import upstream as upstream_row

GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
FAST_S = 0.05

POOL = upstream_row("pool")
ORDERS = service(host="pool", name="orders", retries=5)
ALL = route(ORDERS, name="all", paths=["/"])

Checks = dict[str, Any]


def active(*, kind: str = "http", every_s: float = FAST_S, **fields: Any) -> Checks:
    """Probes; each good or bad one counts, unless the fields say else."""
    healthy = {"interval": every_s, "successes": 1} | fields.pop("healthy", {})
    bad = {"interval": every_s, "tcp_failures": 1, "timeouts": 1, "http_failures": 1}
    unhealthy = bad | fields.pop("unhealthy", {})
    patient = {"timeout": 5}  # a busy machine is no silent target
    fields = patient | {"type": kind, "healthy": healthy, "unhealthy": unhealthy} | fields
    return {"active": fields}


def passive(*, successes: int = 0, **unhealthy: Any) -> Checks:
    """Checks by what becomes of traffic."""
    return {"passive": {"healthy": {"successes": successes}, "unhealthy": unhealthy}}


def pool(checks: Checks, **fields: Any) -> Row:
    row = upstream_row("pool", healthchecks=checks, **fields)
    return row | {"id": POOL["id"]}


def at(upstream: Upstream | int, host: str = "127.0.0.1", **fields: Any) -> Row:
    port = upstream if isinstance(upstream, int) else upstream.port
    return target(POOL, f"{host}:{port}", **fields)


def tables(checks: Checks, *targets: Row, **fields: Any) -> Tables:
    return {
        "services": [ORDERS],
        "routes": [ALL],
        "upstreams": [pool(checks, **fields)],
        "targets": list(targets),
    }


def destination(gateway: Gateway) -> Destination:
    destinations = gateway.proxy.destinations
    return destinations.of_upstream(destinations.snapshot.upstreams[POOL["id"]])


def endpoint(gateway: Gateway, upstream: Upstream | int) -> Endpoint:
    port = upstream if isinstance(upstream, int) else upstream.port
    [found] = [e for e in destination(gateway).endpoints.values() if e.port == port]
    return found


def view(gateway: Gateway) -> UpstreamHealth:
    [found] = gateway.proxy.health.each()
    return found


async def shares(gateway: Gateway, requests: int) -> Counter[bytes]:
    """How many of so many requests had which answer."""
    client = await gateway.connect()
    return Counter([(await client.ask(GET)).body for _ in range(requests)])


class Changes:
    """Hears of changes: ``port, available``."""

    def __init__(self, gateway: Gateway) -> None:
        self.heard: list[HealthChange] = []
        self._news = asyncio.Event()
        gateway.proxy.health.on_change(self._hear)

    def _hear(self, change: HealthChange) -> None:
        self.heard.append(change)
        self._news.set()

    async def next(self) -> HealthChange:
        """The next change that was not returned yet."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.heard:
                self._news.clear()
                await self._news.wait()
        return self.heard.pop(0)

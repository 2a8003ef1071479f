"""Nodes that share probes: few probe a target, all know; whoever is lost, somebody goes on.

The target is started before the nodes, so that it stops after them: somebody always calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.lab.fault_proxy import FaultProxy

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach, until
from .upstream import Upstream

SHARED = {
    "health_probers": 1,
    "health_report_interval_s": 0.1,
    "poll_interval_s": 0.2,
    "heartbeat_interval_s": 0.2,
}
SHORT_DEADLINES = {
    "sync_timeout_s": 1,
    "database_connect_timeout_s": 1,
    "database_statement_timeout_s": 1,
}
EVERY_TENTH_OF_A_SECOND = {
    "active": {
        "http_path": "/probe",
        "timeout": 0.5,
        "healthy": {"interval": 0.1, "successes": 1},
        "unhealthy": {"interval": 0.1, "timeouts": 2},
    }
}
A_WHILE = 20
"""Probes: two seconds of one node's."""


@pytest.fixture
async def fault_proxy(database_url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy.before_database(database_url) as proxy:
        yield proxy


async def have_probed(node: NodeProcess, target: Upstream) -> int:
    """Have a target probed; return the version."""
    await node.write("PUT", "/upstreams/orders", {"healthchecks": EVERY_TENTH_OF_A_SECOND})
    return await node.write(
        "POST", "/upstreams/orders/targets", {"target": f"127.0.0.1:{target.port}"}
    )


async def probers(nodes: list[NodeProcess], target: Upstream) -> list[str]:
    """Return who probes, as seen over a while."""
    before, seen = await probes_of(nodes), target.requests["/probe"]

    async def some_time_has_passed() -> bool:
        return target.requests["/probe"] >= seen + A_WHILE

    await until(some_time_has_passed)
    after = await probes_of(nodes)
    return [node.name for node in nodes if after[node.name] > before[node.name]]


async def probes_of(nodes: list[NodeProcess]) -> dict[str, float]:
    """Return how many probes each node has sent."""
    scrapes = await asyncio.gather(*(node.metrics() for node in nodes))
    return {
        node.name: sum(scrape.values("gateway_health_probes_total"))
        for node, scrape in zip(nodes, scrapes, strict=True)
    }


async def come_to(nodes: list[NodeProcess], target: Upstream, number: int) -> list[str]:
    """Wait until so many of the nodes probe; return who they are."""

    async def found() -> list[str] | None:
        names = await probers(nodes, target)
        return names if len(names) == number else None

    return await until(found)


async def all_find(nodes: list[NodeProcess], health: str) -> None:
    """Wait until a target is so on every node."""

    async def is_so() -> bool:
        answers = [await node.admin("GET", "/upstreams/orders/health") for node in nodes]
        return {answer.json()["data"][0]["health"] for answer in answers} == {health}

    await until(is_so)


async def test_one_probes_for_all_and_another_one_when_it_dies(
    upstream: Upstream, start_nodes: StartNodes
) -> None:
    nodes = await start_nodes(3, **SHARED)
    await all_reach(nodes, await have_probed(nodes[0], upstream))
    (prober,) = await come_to(nodes, upstream, 1)

    await next(node for node in nodes if node.name == prober).kill()
    left = [node for node in nodes if node.name != prober]
    await come_to(left, upstream, 1)

    upstream.may_answer.clear()
    await all_find(left, "UNHEALTHY")


async def test_as_many_probe_as_are_asked_for(upstream: Upstream, start_nodes: StartNodes) -> None:
    nodes = await start_nodes(3, **SHARED | {"health_probers": 2})
    await all_reach(nodes, await have_probed(nodes[0], upstream))
    await come_to(nodes, upstream, 2)


async def test_while_the_database_is_frozen_each_probes_by_itself(
    upstream: Upstream, start_nodes: StartNodes, database_url: str, fault_proxy: FaultProxy
) -> None:
    settings = {"database_url": fault_proxy.url(database_url), **SHARED, **SHORT_DEADLINES}
    nodes = await start_nodes(3, **settings)
    await all_reach(nodes, await have_probed(nodes[0], upstream))
    await come_to(nodes, upstream, 1)
    fault_proxy.stall()
    await come_to(nodes, upstream, 3)
    upstream.may_answer.clear()
    for node in nodes:
        await node.logged("target is unhealthy")
        await node.logged("probes are not shared: each node probes by itself")
    fault_proxy.heal()
    await all_find(nodes, "UNHEALTHY")

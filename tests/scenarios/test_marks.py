"""People take a target out: once they are told so, no node sends it a single further request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.hybrid.certificates import make_pair

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach, until
from .upstream import Upstream

OFTEN = {"poll_interval_s": 0.2, "heartbeat_interval_s": 0.2}
WATCHED = {"passive": {"unhealthy": {"http_failures": 3}}}


@pytest.fixture
async def other() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


async def serve_orders(node: NodeProcess, *targets: Upstream, healthchecks: Any = WATCHED) -> int:
    """Write an upstream with these targets; return the version of it."""
    await node.write("PUT", "/upstreams/orders", {"healthchecks": healthchecks})
    for target in targets:
        await node.write("POST", "/upstreams/orders/targets", {"target": address_of(target)})
    await node.write("PUT", "/services/orders", {"host": "orders"})
    return await node.write("PUT", "/services/orders/routes/orders", {"paths": ["/"]})


def address_of(target: Upstream) -> str:
    return f"127.0.0.1:{target.port}"


async def ask(nodes: list[NodeProcess], path: str, times: int = 10) -> None:
    """Send requests to each node, all at once."""
    answers = await asyncio.gather(*(node.proxy(path) for node in nodes * times))
    assert {answer.status_code for answer in answers} == {200}


@asynccontextmanager
async def traffic(nodes: list[NodeProcess]) -> AsyncIterator[None]:
    """Keep all nodes busy."""

    async def go_on() -> None:
        while True:
            await ask(nodes, "/before", times=3)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def mark(node: NodeProcess, target: Upstream, word: str) -> httpx.Response:
    """Mark a target and wait for the cluster."""
    answer = await node.admin(
        "PUT", f"/upstreams/orders/targets/{address_of(target)}/{word}?wait=cluster"
    )
    assert (answer.status_code, answer.content) == (204, b"")
    return answer


async def health_of(node: NodeProcess, target: Upstream) -> str:
    """What a node says of a target."""
    body = (await node.admin("GET", "/upstreams/orders/health")).json()
    (health,) = (it["health"] for it in body["data"] if it["target"] == address_of(target))
    return str(health)


async def test_a_target_that_is_marked_gets_no_request_from_any_node(
    start_nodes: StartNodes, upstream: Upstream, other: Upstream
) -> None:
    nodes = await start_nodes(3, **OFTEN)
    await all_reach(nodes, await serve_orders(nodes[0], upstream, other))
    async with traffic(nodes):
        marked = await mark(nodes[1], upstream, "unhealthy")
        assert marked.headers["X-Gateway-Propagation"] == "3/3"
        await ask(nodes, "/after")
    assert (upstream.requests["/after"], other.requests["/after"]) == (0, 30)
    assert upstream.requests["/before"] > 0
    assert [await health_of(node, upstream) for node in nodes] == ["UNHEALTHY"] * 3
    assert [await health_of(node, other) for node in nodes] == ["HEALTHY"] * 3
    await check_that_the_cluster_says_so(nodes, upstream)

    await mark(nodes[2], upstream, "healthy")
    await ask(nodes, "/again")
    assert upstream.requests["/again"] == 15


async def check_that_the_cluster_says_so(nodes: list[NodeProcess], target: Upstream) -> None:
    told = {
        "checked": 2,
        "unhealthy": 1,
        "addresses": [{"upstream": "orders", "target": "127.0.0.1", "address": address_of(target)}],
    }

    async def is_told() -> bool:
        cluster = await nodes[0].cluster()
        return [cluster[node.name]["health"] for node in nodes] == [told] * 3

    await until(is_told)
    for node in nodes:
        assert (await node.metrics()).value("gateway_health_unhealthy_addresses") == 1


async def test_a_node_that_starts_heeds_the_marks_of_the_last_hour(
    start_nodes: StartNodes, upstream: Upstream, other: Upstream
) -> None:
    (node,) = await start_nodes(1, **OFTEN)
    await serve_orders(node, upstream, other)
    for word in ("unhealthy", "healthy", "unhealthy"):
        await mark(node, upstream, word)
    (newcomer,) = await start_nodes(1, **OFTEN)
    assert await health_of(newcomer, upstream) == "UNHEALTHY"
    await ask([newcomer], "/new")
    assert upstream.requests["/new"] == 0


async def test_the_audit_log_says_who_it_was(start_nodes: StartNodes, upstream: Upstream) -> None:
    (node,) = await start_nodes(1, **OFTEN)
    await serve_orders(node, upstream)
    await mark(node, upstream, "unhealthy")
    (entry,) = (await node.admin("GET", "/audit?kind=commands")).json()["data"]
    assert entry["after"]["name"] == "target.unhealthy"
    assert entry["address"] == "127.0.0.1"


async def test_a_mark_on_a_control_plane_reaches_data_planes(
    start_nodes: StartNodes, upstream: Upstream, other: Upstream, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path, days=90)
    shared = {"cluster_cert": pair.certificate_path, "cluster_cert_key": pair.key_path, **OFTEN}
    (plane,) = await start_nodes(1, role="control-plane", cluster_port=0, **shared)
    address = plane.addresses["cluster"]
    of_data_planes = {"role": "data-plane", "database_url": "", "control_planes": address}
    edges = await start_nodes(2, snapshot_dir=tmp_path / "copies", **of_data_planes, **shared)
    await all_reach(edges, await serve_orders(plane, upstream, other))
    assert (await mark(plane, upstream, "unhealthy")).headers["X-Gateway-Propagation"] == "2/2"
    await ask(edges, "/after")
    assert (upstream.requests["/after"], other.requests["/after"]) == (0, 20)

    async def is_told() -> bool:
        listed = (await plane.admin("GET", "/clustering/data-planes")).json()["data"]
        return [edge["health"]["unhealthy"] for edge in listed] == [1, 1]

    await until(is_told)

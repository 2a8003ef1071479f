"""The clusters to measure: one of the lab's own for each strategy, or one that runs already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import psycopg

from gateway.hybrid.certificates import make_pair
from gateway.lab.cluster import LabCluster, LabError, LabNode
from gateway.lab.staleness.target import Target
from gateway.lab.staleness.wire import Origin
from gateway.lab.strategies import Strategy
from gateway.lab.tasks import task_group
from gateway.lab.upstream import EchoUpstream

PAIR_DAYS = 1
FILL_TIMEOUT_S = 120.0
LOOK_INTERVAL_S = 0.1
# One statement, one version: copies of the route `fill`, each with its own name and path.
_FILL = """
    INSERT INTO routes
    SELECT (jsonb_populate_record(fill, jsonb_build_object('id', gen_random_uuid(),
        'name', 'fill-' || n, 'paths', jsonb_build_array('/fill/' || n)))).*
    FROM routes fill, generate_series(1, %s - 1) n WHERE fill.name = 'fill'
"""


@asynccontextmanager
async def own_cluster(
    strategy: Strategy, nodes: int, routes: int = 0, database_url: str = ""
) -> AsyncIterator[Target]:
    """Run a cluster with this strategy for the length of the block.

    Under `hybrid` that is a control plane, which is written through, and so many data planes, which
    are probed; otherwise one of the nodes is written through and the others are probed. ``routes``
    are there beforehand. Raises `LabError`, `StartError`, `SettingError`.
    """
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(EchoUpstream())
        cluster = await stack.enter_async_context(
            LabCluster(database_url=database_url, log_level="warning", **strategy.settings)
        )
        start = _start_hybrid if strategy.is_hybrid else _start_nodes
        writing, probed = await start(cluster, nodes)
        if routes:
            await _fill(cluster, writing, upstream, routes)
        yield Target(
            admin=Origin.of(writing.url("admin")),
            probed={node.name: Origin.of(node.url("proxy")) for node in probed},
            upstream_url=upstream.url,
            nodes=len(cluster.nodes),
            status={node.name: Origin.of(node.url("status")) for node in cluster.nodes},
            checked=[node.name for node in probed],
            database_url=cluster.database_url,
        )


@asynccontextmanager
async def running_cluster(
    admin: Origin, proxy_urls: Sequence[str], status_urls: Sequence[str], upstream_url: str
) -> AsyncIterator[Target]:
    """Describe a cluster that runs already; the lab brings an upstream if no other is given.

    Status listeners are asked for their counts if they are given.
    """
    status = {str(origin): origin for origin in map(Origin.of, status_urls)}
    async with EchoUpstream() as upstream:
        yield Target(
            admin=admin,
            probed={str(origin): origin for origin in map(Origin.of, proxy_urls)},
            upstream_url=upstream_url or upstream.url,
            load_upstream_url=upstream_url,
            nodes=len(status),
            status=status,
            checked=list(status),
        )


async def _start_nodes(cluster: LabCluster, nodes: int) -> tuple[LabNode, list[LabNode]]:
    writing, *probed = await cluster.start_nodes(nodes)
    return writing, probed


async def _start_hybrid(cluster: LabCluster, nodes: int) -> tuple[LabNode, list[LabNode]]:
    pair = make_pair(cluster.directory, PAIR_DAYS)
    shared = {
        "cluster_cert": str(pair.certificate_path),
        "cluster_cert_key": str(pair.key_path),
    }
    control = await cluster.start_node("control-plane", role="control-plane", **shared)
    shared["control_planes"] = control.addresses["cluster"]
    async with task_group() as tasks:
        starting = [
            tasks.create_task(
                cluster.start_node(f"data-plane-{number}", role="data-plane", **shared)
            )
            for number in range(1, nodes + 1)
        ]
    return control, [task.result() for task in starting]


async def _fill(cluster: LabCluster, writing: LabNode, upstream: EchoUpstream, routes: int) -> None:
    """Give the cluster so many routes, and wait until every node has them."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:  # noqa: S501 - plain HTTP
        admin = writing.url("admin")
        service = {"url": upstream.url}
        (await http.put(f"{admin}/services/fill", json=service)).raise_for_status()
        route = {"paths": ["/fill/0"], "service": {"name": "fill"}}
        (await http.put(f"{admin}/routes/fill", json=route)).raise_for_status()
        version = await _multiply(cluster.database_url, routes)
        try:
            async with asyncio.timeout(FILL_TIMEOUT_S):
                for node in cluster.nodes:
                    while await _applied_version(http, node) < version:  # noqa: ASYNC110 - far away
                        await asyncio.sleep(LOOK_INTERVAL_S)
        except TimeoutError:
            raise LabError(
                f"{node.name} did not apply {routes} routes within {FILL_TIMEOUT_S:g} s: "
                f"{node.last_words()}"
            ) from None


async def _multiply(database_url: str, routes: int) -> int:
    """Copy the route; return the version that this made."""
    connection = await psycopg.AsyncConnection.connect(database_url)
    async with asyncio.timeout(FILL_TIMEOUT_S), connection:
        await connection.execute(_FILL, [routes])
        await connection.commit()
        row = await (await connection.execute("SELECT version FROM config_version")).fetchone()
    if row is None:
        raise LabError("the lab's database has no version: it is not a gateway's")
    return int(row[0])


async def _applied_version(http: httpx.AsyncClient, node: LabNode) -> int:
    report = (await http.get(f"{node.url('status')}/status")).json()
    return int(report["sync"]["applied_version"] or 0)

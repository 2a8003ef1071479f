"""A plugin asks for more metrics: each node tells who has asked, and which targets are unwell."""

from __future__ import annotations

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .upstream import Upstream

TARGET_HEALTH = "gateway_upstream_target_health"
CHECKED = {"passive": {"unhealthy": {"http_failures": 3}}}


async def write_all(node: NodeProcess, upstream: Upstream) -> int:
    await node.write("PUT", "/upstreams/orders", {"healthchecks": CHECKED})
    target = f"127.0.0.1:{upstream.port}"
    await node.write("POST", "/upstreams/orders/targets", {"target": target})
    await node.write("PUT", "/services/orders", {"host": "orders"})
    await node.write("PUT", "/services/orders/routes/orders", {"paths": ["/"]})
    await node.write("PUT", "/consumers/ann", {})
    await node.write("POST", "/consumers/ann/key-auth", {"key": "k"})
    await node.write("POST", "/plugins", {"name": "key-auth"})
    switches = {"per_consumer": True, "upstream_health_metrics": True}
    return await node.write("POST", "/plugins", {"name": "prometheus", "config": switches})


async def states(node: NodeProcess) -> dict[str, float]:
    metrics = await node.metrics()
    return {
        state: sum(metrics.values(TARGET_HEALTH, state=state, upstream="orders"))
        for state in ("healthchecks_off", "healthy", "unhealthy", "dns_error")
    }


async def test_consumers_and_targets_are_told(start_nodes: StartNodes, upstream: Upstream) -> None:
    nodes = await start_nodes(2)
    await all_reach(nodes, await write_all(nodes[0], upstream))
    for node in nodes:
        await node.proxy("/", headers={"apikey": "k"})
        await node.proxy("/")
        metrics = await node.metrics()
        requests = "gateway_http_requests_total"
        assert list(metrics.values(requests, consumer="ann", code="200")) == [1]
        assert list(metrics.values(requests, consumer="", code="401")) == [1]
        assert sum(metrics.values(requests)) == 2
        assert (await states(node))["healthy"] == 1
    target = f"127.0.0.1:{upstream.port}"
    marked = f"/upstreams/orders/targets/{target}/unhealthy?wait=cluster"
    assert (await nodes[0].admin("PUT", marked)).status_code == 204
    for node in nodes:
        assert await states(node) == {
            "healthchecks_off": 0,
            "healthy": 0,
            "unhealthy": 1,
            "dns_error": 0,
        }

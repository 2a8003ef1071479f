"""All nodes are restarted, one after the other, under load: not one request is lost."""

from __future__ import annotations

from collections import Counter

from .balancer import Balancer
from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .strict_clients import StrictClients
from .upstream import Upstream

# An idle connection waits for a last request for as long as even a busy machine keeps its client.
PATIENT = {"drain_idle_s": 20, "shutdown_timeout_s": 25}
LOAD = {"keeping": 9, "renewing": 6}


async def serve_orders(nodes: list[NodeProcess], upstream: Upstream) -> None:
    await nodes[0].write("PUT", "/services/orders", {"url": upstream.url})
    route = {"paths": ["/orders"]}
    await all_reach(nodes, await nodes[0].write("PUT", "/services/orders/routes/orders", route))


def check_that_each_was_answered_once(clients: StrictClients, upstream: Upstream) -> None:
    assert Counter(clients.answered) == upstream.requests


async def test_nodes_on_one_shared_port(
    start_nodes: StartNodes, upstream: Upstream, shared_port: int
) -> None:
    shared = {"proxy_port": shared_port, "shared_proxy_port": True, **PATIENT}
    nodes = await start_nodes(3, **shared)
    await serve_orders(nodes, upstream)
    async with StrictClients.to(shared_port, "/orders", **LOAD) as clients:
        await clients.go_on()
        for leaving in nodes:
            assert await leaving.stop() == 0
            await clients.go_on()
            await start_nodes(1, **shared)
            await clients.go_on()
    check_that_each_was_answered_once(clients, upstream)
    assert [node.lines_of("connections are cut") for node in nodes] == [[], [], []]


async def test_nodes_behind_a_balancer(start_nodes: StartNodes, upstream: Upstream) -> None:
    noticed = {"drain_delay_s": 1, **PATIENT}
    nodes = await start_nodes(3, **noticed)
    await serve_orders(nodes, upstream)
    async with (
        Balancer.before(list(nodes)) as balancer,
        StrictClients.to(balancer.port, "/orders", **LOAD) as clients,
    ):
        await clients.go_on()
        for leaving in nodes:
            assert await leaving.stop() == 0
            balancer.nodes.remove(leaving)
            await clients.go_on()
            balancer.nodes += await start_nodes(1, **noticed)
            await clients.go_on()
    check_that_each_was_answered_once(clients, upstream)
    assert [node.lines_of("connections are cut") for node in nodes] == [[], [], []]

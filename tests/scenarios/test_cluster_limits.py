"""A limit that all nodes count together, with nodes that are hammered and killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from gateway.plugins.rate_limiting.ledger import AHEAD_AT_LEAST
from gateway.store.embedded import EmbeddedPostgres

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach, until
from .upstream import Upstream

LIMIT = 60
CLUSTER = {"name": "rate-limiting", "config": {"policy": "cluster", "year": LIMIT}}


async def limit(nodes: Sequence[NodeProcess], upstream: Upstream) -> None:
    """Have a route whose requests are limited on all nodes."""
    first = nodes[0]
    service = {"name": "orders", "host": "127.0.0.1", "port": upstream.port}
    await first.write("POST", "/services", service)
    await first.write("POST", "/services/orders/routes", {"paths": ["/"]})
    version = await first.write("POST", "/plugins", CLUSTER)
    await all_reach(list(nodes), version)


async def passed(node: NodeProcess, requests: int) -> int:
    """Send requests, some at a time, and return how many were let through."""
    statuses: Counter[int] = Counter()

    async def some() -> None:
        for _ in range(requests // 10):
            statuses[(await node.proxy("/")).status_code] += 1

    await asyncio.gather(*(some() for _ in range(10)))
    assert statuses.keys() <= {200, 429}
    return statuses[200]


async def test_nodes_hammered_at_once_keep_to_the_bound(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    nodes = await start_nodes(3)
    await limit(nodes, upstream)
    total = sum(await asyncio.gather(*(passed(node, 100) for node in nodes)))
    assert LIMIT <= total <= LIMIT + 2 * max(LIMIT // 3, AHEAD_AT_LEAST)
    assert [await passed(node, 10) for node in nodes] == [0, 0, 0]


async def test_a_node_that_is_killed_takes_no_more_with_it_than_it_may_be_ahead(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    nodes = await start_nodes(3)
    await limit(nodes, upstream)
    victim, *others = nodes
    before = await asyncio.gather(*(victim.proxy("/") for _ in range(40)))
    await victim.kill()
    total = sum(answer.status_code == 200 for answer in before)
    total += sum(await asyncio.gather(*(passed(node, 100) for node in others)))
    assert LIMIT <= total <= LIMIT + 2 * max(LIMIT // 3, AHEAD_AT_LEAST)
    (newcomer,) = await start_nodes(1)
    total += await passed(newcomer, 50)  # it counts as a further node
    assert total <= LIMIT + 3 * max(LIMIT // 3, AHEAD_AT_LEAST)
    assert await passed(newcomer, 10) == 0


async def test_while_the_database_is_away_requests_pass_uncounted(
    own_postgres: EmbeddedPostgres, start_nodes: StartNodes, upstream: Upstream
) -> None:
    (node,) = await start_nodes(1, database_url=own_postgres.url())
    await limit([node], upstream)
    assert await passed(node, 20) == 20
    own_postgres.stop()
    await node.proxy("/")
    await node.logged("counters cannot be reached")
    answers = [await node.proxy("/") for _ in range(2 * LIMIT)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit-Limit" not in answers[-1].headers
    own_postgres.start()
    await node.logged("counters can be reached again")
    await until(lambda: is_refused(node))  # what has passed meanwhile counts after all


async def is_refused(node: NodeProcess) -> bool:
    return (await node.proxy("/")).status_code == 429

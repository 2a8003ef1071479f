"""A node is killed in the middle of a stream of writes: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach, until
from .sql import check_that_the_log_is_whole, newest_version, rows
from .upstream import Upstream

WRITERS_PER_NODE = 2


@dataclass
class Writer:
    """Creates services through one node until told to stop, or until the node is gone."""

    node: NodeProcess
    number: int
    acknowledged: dict[str, int] = field(default_factory=dict)  # name → version
    failures: list[httpx.HTTPError] = field(default_factory=list)

    async def write(self, enough: asyncio.Event) -> None:
        while not enough.is_set() and not self.failures:
            name = f"{self.node.name}-{self.number}-{len(self.acknowledged)}"
            try:
                service = {"name": name, "host": "a.test"}
                self.acknowledged[name] = await self.node.write("POST", "/services", service)
            except httpx.HTTPError as error:
                self.failures.append(error)


async def test_every_acknowledged_write_outlives_a_node_that_is_killed(
    start_nodes: StartNodes, upstream: Upstream, database_url: str
) -> None:
    nodes = await start_nodes(3, heartbeat_interval_s=0.2)
    victim, *others = nodes
    await others[0].write("PUT", "/services/orders", {"url": upstream.url})
    writers = [Writer(node, n) for node in nodes for n in range(WRITERS_PER_NODE)]
    enough = asyncio.Event()

    async def each_writes_on() -> None:
        """Wait until every writer that can has had further writes acknowledged."""
        goal = {id(writer): len(writer.acknowledged) + 5 for writer in writers}

        async def is_reached() -> bool:
            return all(w.failures or len(w.acknowledged) >= goal[id(w)] for w in writers)

        await until(is_reached)

    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write(enough))
        await each_writes_on()
        await victim.kill()
        await each_writes_on()
        enough.set()

    for writer in writers:
        assert bool(writer.failures) == (writer.node is victim)
    acknowledged = {name: v for writer in writers for name, v in writer.acknowledged.items()}
    created = (
        "SELECT name, version FROM services JOIN changes ON entity_id = id "
        "WHERE operation = 'create'"
    )
    there = dict(await rows(database_url, created))
    assert acknowledged.items() <= there.items()
    await check_that_the_log_is_whole(database_url)
    await all_reach(others, await newest_version(database_url))
    await check_that_a_successor_serves_the_newest(start_nodes, others, victim)


async def check_that_a_successor_serves_the_newest(
    start_nodes: StartNodes, others: list[NodeProcess], victim: NodeProcess
) -> None:
    route = {"paths": ["/orders"]}
    version = await others[0].write("PUT", "/services/orders/routes/orders", route)
    (successor,) = await start_nodes(1, heartbeat_interval_s=0.2)
    assert (await successor.proxy("/orders")).status_code == 200
    assert (await successor.report())["sync"]["applied_version"] == version

    async def only_the_victim_is_missed() -> bool:
        seen = await others[1].cluster()
        return {name for name, node in seen.items() if not node["alive"]} == {victim.name}

    await until(only_the_victim_is_missed)

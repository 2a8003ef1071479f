"""The cluster of a run: each node reaches what it depends on through fault proxies of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.hybrid.certificates import make_pair
from gateway.lab.cluster import LabCluster, LabError, LabNode
from gateway.lab.fault_proxy import HOST, FaultProxy
from gateway.lab.strategies import Strategy
from gateway.settings import Role, StaleAction

CONTROL_PLANES = 2
CERTIFICATE_DAYS = 365
RESTART_PAUSE_S = 0.3
RESTART_BOUND_S = 60.0

MAX_STALE_S = 3.0
"""Below the five seconds after which the cluster stops counting a node: what barriers say is then
true of nodes that are not counted, too."""

SETTINGS: dict[str, Any] = {
    "max_stale_s": MAX_STALE_S,
    "stale_action": StaleAction.REFUSE,
    "sync_timeout_s": 5,
    "database_connect_timeout_s": 2,
    "database_statement_timeout_s": 5,
    # So short that a node which was away for some time has to load everything.
    "change_log_keep": 100,
}


@dataclass(slots=True)
class Member:
    """A node, what stands between it and what it depends on, and how often it was started."""

    node: LabNode
    links: list[FaultProxy]
    incarnation: int = 0

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    async def start(self) -> None:
        """Start the node; as often as it takes, since it may need what is away at the moment.

        Raises LabError when it does not start within RESTART_BOUND_S.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RESTART_BOUND_S
        while True:
            self.incarnation += 1
            try:
                await self.node.start()
            except LabError:
                if loop.time() > deadline:
                    raise
                await self.node.kill()
                await asyncio.sleep(RESTART_PAUSE_S)
            else:
                return


@dataclass(slots=True)
class Arena:
    """The members by what they do: a traditional node serves and takes writes."""

    cluster: LabCluster
    serving: list[Member] = field(default_factory=list)
    writing: list[Member] = field(default_factory=list)
    control_planes: list[Member] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def open(cls, strategies: Sequence[Strategy], nodes: int) -> AsyncIterator[Arena]:
        """Start a cluster; nodes take turns with the strategies. Raises LabError, StartError."""
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(LabCluster(**SETTINGS))
            arena = cls(cluster)
            if any(strategy.is_hybrid for strategy in strategies):
                await _add_hybrid_nodes(arena, stack, nodes)
            else:
                await _add_traditional_nodes(arena, stack, strategies, nodes)
            yield arena


async def _add_traditional_nodes(
    arena: Arena, stack: AsyncExitStack, strategies: Sequence[Strategy], nodes: int
) -> None:
    for number in range(nodes):
        settings = strategies[number % len(strategies)].settings
        member = await _add_with_database(arena, stack, f"node-{number + 1}", settings)
        arena.serving.append(member)
        arena.writing.append(member)
    await asyncio.gather(*(member.start() for member in arena.serving))


async def _add_hybrid_nodes(arena: Arena, stack: AsyncExitStack, nodes: int) -> None:
    pair = make_pair(arena.cluster.directory, CERTIFICATE_DAYS)
    shared = {"cluster_cert": str(pair.certificate_path), "cluster_cert_key": str(pair.key_path)}
    for number in range(CONTROL_PLANES):
        settings = {"role": Role.CONTROL_PLANE, **shared}
        member = await _add_with_database(arena, stack, f"control-{number + 1}", settings)
        arena.control_planes.append(member)
        arena.writing.append(member)
    await asyncio.gather(*(member.start() for member in arena.control_planes))
    for number in range(nodes):
        member = await _add_data_plane(arena, stack, f"data-{number + 1}", shared)
        arena.serving.append(member)
    await asyncio.gather(*(member.start() for member in arena.serving))


async def _add_with_database(
    arena: Arena, stack: AsyncExitStack, name: str, settings: dict[str, Any]
) -> Member:
    database_url = arena.cluster.database_url
    link = await stack.enter_async_context(FaultProxy.before_database(database_url))
    node = arena.cluster.add_node(name, database_url=link.url(database_url), **settings)
    return Member(node, [link])


async def _add_data_plane(
    arena: Arena, stack: AsyncExitStack, name: str, settings: dict[str, Any]
) -> Member:
    links = [
        await stack.enter_async_context(
            FaultProxy.before_address(HOST, control_plane.node.settings.cluster_port)
        )
        for control_plane in arena.control_planes
    ]
    ways = ",".join(f"{HOST}:{link.port}" for link in links)
    node = arena.cluster.add_node(name, role=Role.DATA_PLANE, control_planes=ways, **settings)
    return Member(node, links)

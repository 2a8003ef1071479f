"""The heartbeat: `/cluster` knows what a node serves, soon after it serves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway import __version__
from gateway.heartbeat import Pulse
from gateway.lab.fault_proxy import FaultProxy
from gateway.settings import NodeSettings
from gateway.status.facts import NodeIdentity
from gateway.status.health_counts import Census, HealthCounts, UnhealthyAddress
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.nodes import NodeRow
from gateway.store.source import VersionMark
from gateway.store.store import Store
from gateway.sync.status import SyncStatus
from tests.scenarios.nodes import until

SELDOM_S = 3600


@dataclass
class Node:
    """A node as far as its heartbeat tells of it."""

    settings: NodeSettings
    identity: NodeIdentity
    sync: SyncStatus
    health_counts: HealthCounts = field(default_factory=HealthCounts)

    def apply(self, version: int) -> None:
        self.sync.applied = VersionMark(uuid4(), version, datetime.now(UTC))
        for observer in self.sync.on_applied:
            observer()


@pytest.fixture
def node(settings: NodeSettings) -> Node:
    identity = NodeIdentity(
        id=uuid4(),
        name="a",
        started_at=datetime.now(UTC),
        proxy_address="127.0.0.1:1",
        admin_address="127.0.0.1:2",
        status_address="[::1]:3",
    )
    return Node(
        settings.model_copy(update={"heartbeat_interval_s": SELDOM_S}), identity, SyncStatus("poll")
    )


@asynccontextmanager
async def beating(store: Store, node: Node) -> AsyncIterator[None]:
    task = asyncio.create_task(Pulse(store, node).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def row_with(store: Store, version: int | None) -> NodeRow:
    """Wait until the cluster shows this version for the node."""

    async def find() -> NodeRow | None:
        rows = (await store.cluster()).nodes
        return next((row for row in rows if row.applied_version == version), None)

    return await until(find)


async def test_it_tells_who_the_node_is_as_soon_as_it_lives(store: Store, node: Node) -> None:
    async with beating(store, node):
        row = await row_with(store, None)
    assert (row.id, row.name, row.started_at) == (
        node.identity.id,
        node.identity.name,
        node.identity.started_at,
    )
    assert (row.proxy_address, row.status_address) == ("127.0.0.1:1", "[::1]:3")
    assert (row.strategy, row.software_version) == ("poll", __version__)


async def test_each_apply_is_told_without_waiting_for_the_interval(
    store: Store, node: Node
) -> None:
    async with beating(store, node):
        await row_with(store, None)
        for version in (1, 2):
            node.apply(version)
            await row_with(store, version)


async def test_a_burst_of_applies_ends_with_the_last_one_told(store: Store, node: Node) -> None:
    async with beating(store, node):
        for version in range(1, 100):
            node.apply(version)
            await asyncio.sleep(0)
        await row_with(store, 99)


async def test_without_applies_it_goes_on_at_its_interval(store: Store, node: Node) -> None:
    node.settings = node.settings.model_copy(update={"heartbeat_interval_s": 0.01})
    async with beating(store, node):
        first = await row_with(store, None)

        async def is_seen_again() -> bool:
            return (await row_with(store, None)).last_seen_at > first.last_seen_at

        await until(is_seen_again)


async def has_lines(logs: list[Any], number: int) -> bool:
    return len(logs) >= number


async def test_a_database_that_is_away_is_said_once_and_told_all_when_it_is_back(
    node: Node, store: Store, postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with FaultProxy.before(postgres) as network:
        url = SecretStr(network.url(database_url))
        node.settings = node.settings.model_copy(
            update={"heartbeat_interval_s": 0.01, "database_url": url}
        )
        through_it = Store(node.settings)
        await through_it.start()
        with capture_logs() as logs:
            async with beating(through_it, node):
                for version in (1, 2):
                    node.apply(version)
                    await row_with(store, version)
                    network.cut()
                    await until(partial(has_lines, logs, version))
                    network.heal()
                node.apply(3)
                await row_with(store, 3)
        await through_it.stop()
    assert [log["event"] for log in logs] == ["heartbeat not written"] * 2


async def test_a_heartbeat_tells_of_unhealthy_addresses(store: Store, node: Node) -> None:
    down = UnhealthyAddress("orders", "orders-1.internal", "10.0.0.1:9000")
    node.health_counts.census = Census(checked=3, unhealthy=1, named=(down,))
    node.settings = node.settings.model_copy(update={"health_probers": 2})
    async with beating(store, node):
        row = await row_with(store, None)
    assert row.health == {
        "checked": 3,
        "unhealthy": 1,
        "addresses": [
            {"upstream": "orders", "target": "orders-1.internal", "address": "10.0.0.1:9000"}
        ],
        "shares_probes": True,
    }

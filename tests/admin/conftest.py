"""An Admin API in this process: its app, the node it speaks for, and a client."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from gateway.admin.app import create_app
from gateway.settings import NodeSettings
from gateway.status.facts import BadEntity, ConnectionCounts, NodeIdentity
from gateway.status.health import HealthChange, UpstreamHealth
from gateway.store.store import Store
from gateway.sync.status import SyncState, SyncStatus


def identity() -> NodeIdentity:
    return NodeIdentity(
        id=uuid4(),
        name="node-0",
        started_at=datetime.now(UTC),
        proxy_address="127.0.0.1:8000",
        admin_address="127.0.0.1:8001",
        status_address="127.0.0.1:8100",
    )


@dataclass
class SomeHealth:
    """`HealthFacts` of upstreams that nobody checks: a test says how they are."""

    views: dict[UUID, UpstreamHealth] = field(default_factory=dict)

    async def of(self, upstream_id: UUID) -> UpstreamHealth | None:
        return self.views.get(upstream_id)

    def each(self) -> Iterator[UpstreamHealth]:
        return iter(self.views.values())

    def mark(self, target_id: UUID, address: str | None, *, healthy: bool) -> int:
        raise NotImplementedError

    def on_change(self, hear: Callable[[HealthChange], None]) -> None:
        raise NotImplementedError


@dataclass
class StandingNode:
    """A node that has applied nothing yet and proxies nothing."""

    settings: NodeSettings
    identity: NodeIdentity = field(default_factory=identity)
    disk_copy: None = None
    starting: bool = False
    draining: bool = False
    health: SomeHealth = field(default_factory=SomeHealth)
    shared: dict[str, Any] = field(default_factory=dict)
    sync: SyncStatus = field(
        default_factory=lambda: SyncStatus("poll", SyncState.SYNCED, returned_at=-math.inf)
    )

    def connections(self) -> ConnectionCounts:
        return ConnectionCounts(0, 0, 0, 0, 0, 0, 0)

    def shared_by_plugin(self, name: str) -> Any:
        return self.shared.get(name)

    def bad_entities(self) -> list[BadEntity]:
        return []


@pytest.fixture
def settings(database_url: str) -> NodeSettings:
    return NodeSettings(database_url=database_url, node_name="node-0")


@pytest.fixture
def node(settings: NodeSettings) -> StandingNode:
    return StandingNode(settings)


@pytest.fixture
async def store(settings: NodeSettings) -> AsyncIterator[Store]:
    store = Store(settings)
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
async def client(store: Store, node: StandingNode) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(store, node) as client:
        yield client


def client_of(store: Store, node: StandingNode) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(store, node))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30)


async def created(client: httpx.AsyncClient, path: str, **fields: Any) -> dict[str, Any]:
    """Create an entity that must be acceptable and return it."""
    response = await client.post(path, json=fields)
    assert response.status_code == 201, response.text
    return response.json()


async def ids(client: httpx.AsyncClient, path: str) -> list[UUID]:
    """The ids of one page."""
    response = await client.get(path)
    assert response.status_code == 200, response.text
    return [UUID(row["id"]) for row in response.json()["data"]]

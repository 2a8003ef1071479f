"""The store of a simulated node leaves in the database what a node's does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from gateway.lab.fleet.store import FrugalStore
from gateway.settings import NodeSettings
from gateway.store.errors import StoreUnavailable
from gateway.store.nodes import Heartbeat
from gateway.store.store import Store


@pytest.fixture
async def frugal(settings: NodeSettings) -> AsyncIterator[FrugalStore]:
    store = FrugalStore(settings)
    yield store
    await store.stop()


def beat(name: str = "a", version: int = 1) -> Heartbeat:
    return Heartbeat(
        id=uuid4(),
        name=name,
        proxy_address=f"{name}:1",
        admin_address=f"{name}:2",
        status_address=f"{name}:3",
        started_at=datetime.now(UTC),
        applied_version=version,
        applied_committed_at=datetime.now(UTC),
        strategy="poll",
        software_version="1",
        role="traditional",
    )


async def test_its_heartbeats_are_those_of_a_node(frugal: FrugalStore, store: Store) -> None:
    first = beat()
    await frugal.join(first)
    for version in (2, 3, 4):
        last = replace(first, applied_version=version)
        await frugal.heartbeat(last)
    (row,) = (await store.cluster()).nodes
    assert asdict(last).items() <= asdict(row).items()


async def test_it_takes_the_place_of_its_predecessor_and_leaves(
    frugal: FrugalStore, store: Store
) -> None:
    before, after = beat(), beat()
    await store.join(before)
    await frugal.join(after)
    assert [row.id for row in (await store.cluster()).nodes] == [after.id]
    await frugal.forget(after.id)
    assert (await store.cluster()).nodes == []


async def test_a_lost_connection_costs_one_heartbeat_at_most(
    frugal: FrugalStore, store: Store, database_url: str
) -> None:
    first = beat()
    await frugal.join(first)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'gateway test' AND pid <> pg_backend_pid()"
        )
    try:
        await frugal.heartbeat(replace(first, applied_version=2))
    except StoreUnavailable:
        await frugal.heartbeat(replace(first, applied_version=2))
    (row,) = (await store.cluster()).nodes
    assert row.applied_version == 2

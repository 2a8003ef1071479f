"""The contract of sync strategies: whichever is chosen, a node ends up as the tables are."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from gateway.lab.fault_proxy import FaultProxy
from gateway.settings import NodeSettings
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.store import Store
from gateway.sync.registry import strategy_names
from tests.store.rows import route, service, target, upstream
from tests.sync.mirror import SyncedNode, newest_version, run_sql, tables, until

END_LISTENERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN %'
"""


OURS = ["poll", "notify", "hybrid"]
OTHERS = os.environ.get("GATEWAY_TEST_STRATEGY", "").split()
"""Strategies of other packages that are installed, to be held to the same contract."""


@pytest.fixture(params=[*OURS, *OTHERS])
def any_strategy(request: pytest.FixtureRequest, settings: NodeSettings) -> NodeSettings:
    return with_settings(settings, strategy=request.param, poll_interval_s=0.05)


def with_settings(settings: NodeSettings, **changed: Any) -> NodeSettings:
    return settings.model_copy(update=changed)


def test_all_our_strategies_are_held_to_the_contract() -> None:
    assert set(strategy_names()) >= {*OURS}


async def test_a_node_follows_what_is_written(
    any_strategy: NodeSettings, store: Store, database_url: str
) -> None:
    async with SyncedNode(any_strategy).running() as node:
        async with store.write() as tx:
            parent = await tx.insert("services", service())
            await tx.insert("routes", child := route(parent["id"]))
            pool = await tx.insert("upstreams", upstream())
            await tx.insert("targets", target(pool["id"]))
        await node.reaches(tx.version)
        assert node.mirror.contents == await tables(database_url)
        async with store.write() as tx:
            await tx.update("services", parent["id"], {"port": 81})
            await tx.delete("routes", child["id"])
            await tx.delete("upstreams", pool["id"])
        await node.reaches(tx.version)
        assert node.mirror.contents == await tables(database_url)
        assert len(node.mirror.contents) == 1
    assert node.mirror.kinds[0] == "full"
    assert set(node.mirror.kinds[1:]) == {"changes"}


async def test_many_writers_at_once_are_all_followed(
    any_strategy: NodeSettings, store: Store, database_url: str
) -> None:
    async def write(number: int) -> None:
        async with store.write() as tx:
            await tx.insert("services", service(name=f"s{number}"))

    async with SyncedNode(any_strategy).running() as node:
        await asyncio.gather(*(write(number) for number in range(40)))
        await node.reaches(40)
        assert node.mirror.contents == await tables(database_url)


async def test_a_stalled_database_is_found_again(
    any_strategy: NodeSettings, postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with FaultProxy.before(postgres) as proxy:
        through_proxy = with_settings(
            any_strategy,
            database_url=type(any_strategy.database_url)(proxy.url(database_url)),
            sync_timeout_s=1.0,
        )
        async with SyncedNode(through_proxy).running() as node:
            proxy.stall()
            await node.becomes("database unavailable")
            await run_sql(database_url, "INSERT INTO services (host) VALUES ('h')")
            proxy.heal()
            await node.reaches(1)
            assert node.mirror.contents == await tables(database_url)
            assert node.status.state == "synced"


async def test_cut_connections_are_made_anew(
    any_strategy: NodeSettings, postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with FaultProxy.before(postgres) as proxy:
        url = type(any_strategy.database_url)(proxy.url(database_url))
        async with SyncedNode(with_settings(any_strategy, database_url=url)).running() as node:
            proxy.cut()
            await node.becomes("database unavailable")
            await run_sql(database_url, "INSERT INTO services (host) VALUES ('h')")
            proxy.heal()
            await node.reaches(1)
            assert node.mirror.contents == await tables(database_url)


async def test_nothing_is_left_running_after_the_end(any_strategy: NodeSettings) -> None:
    before = asyncio.all_tasks()
    async with SyncedNode(any_strategy).running() as node:
        await node.loop.sync_now()
        assert asyncio.all_tasks() > before
    assert asyncio.all_tasks() == before


# -- notify


async def test_a_version_is_announced_long_before_it_would_be_polled(
    settings: NodeSettings, store: Store
) -> None:
    slow_poll = with_settings(settings, strategy="notify", poll_interval_s=3600)
    async with SyncedNode(slow_poll).running() as node:
        for _ in range(3):
            async with store.write() as tx:
                await tx.insert("services", service())
            await node.reaches(tx.version)


async def test_what_was_written_before_listening_began_is_not_missed(
    settings: NodeSettings, store: Store
) -> None:
    slow_poll = with_settings(settings, strategy="notify", poll_interval_s=3600)
    node = SyncedNode(slow_poll)
    await node.loop.first_load()
    async with store.write() as tx:
        await tx.insert("services", service())
    async with node.running():
        await node.reaches(1)


async def test_a_lost_announcement_is_made_up_for_by_polling(
    settings: NodeSettings, database_url: str
) -> None:
    fast_poll = with_settings(settings, strategy="notify", poll_interval_s=0.05)
    async with SyncedNode(fast_poll).running() as node:
        await run_sql(
            database_url,
            END_LISTENERS,
            "INSERT INTO services (host) VALUES ('unheard')",
        )
        await node.reaches(1)


async def test_a_listener_that_lost_its_connection_listens_again(
    settings: NodeSettings, database_url: str
) -> None:
    slow_poll = with_settings(settings, strategy="notify", poll_interval_s=3600)
    async with SyncedNode(slow_poll).running() as node:
        await run_sql(database_url, "INSERT INTO services (host) VALUES ('heard')")
        await node.reaches(1)
        await run_sql(database_url, END_LISTENERS, "INSERT INTO services (host) VALUES ('unheard')")
        await node.reaches(2)
        assert node.status.strategy_restarts == 1
        await run_sql(database_url, "INSERT INTO services (host) VALUES ('heard again')")
        await node.reaches(await newest_version(database_url))


async def test_a_connection_that_only_seems_to_live_is_probed(
    settings: NodeSettings,
    postgres: EmbeddedPostgres,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.sync.notify.PROBE_INTERVAL_S", 0.1)
    async with FaultProxy.before(postgres) as proxy:
        through_proxy = with_settings(
            settings,
            strategy="notify",
            poll_interval_s=3600,
            database_connect_timeout_s=2.0,
            database_url=type(settings.database_url)(proxy.url(database_url)),
        )
        async with SyncedNode(through_proxy).running() as node:
            await node.loop.sync_now()
            proxy.stall()
            await proxy.has_stalled()
            await until(lambda: node.status.strategy_restarts > 0)
            proxy.heal()
            await run_sql(database_url, "INSERT INTO services (host) VALUES ('h')")
            await node.reaches(1)

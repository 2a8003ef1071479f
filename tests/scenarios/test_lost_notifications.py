"""Notifications get lost; the changes they announced do not."""

from __future__ import annotations

from gateway.lab.fault_proxy import FaultProxy
from gateway.store.embedded import EmbeddedPostgres

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .sql import newest_version, rows, run_sql

SELDOM_S = 3600
"""A poll interval that no test waits for: what arrives was announced."""

LISTENERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND query ~ '^(LISTEN|SELECT 1$)'
"""
INSERT = "INSERT INTO services (host) VALUES ('a.test')"


async def have_to_reach_what_is_written_now(nodes: list[NodeProcess], database_url: str) -> None:
    await run_sql(database_url, INSERT)
    await all_reach(nodes, await newest_version(database_url))


async def test_without_listeners_changes_arrive_by_themselves_and_are_announced_again(
    start_nodes: StartNodes, database_url: str
) -> None:
    nodes = await start_nodes(2, poll_interval_s=SELDOM_S)
    await have_to_reach_what_is_written_now(nodes, database_url)
    for _ in range(2):
        # In one transaction: at the commit, nobody is left to be notified.
        killed = await rows(database_url, f"WITH new AS ({INSERT} RETURNING 1) {LISTENERS}")
        assert killed == [(True,)] * 2
        await all_reach(nodes, await newest_version(database_url))
    for node in nodes:
        await node.logged("sync strategy works again", reason="listening from now on")
    await have_to_reach_what_is_written_now(nodes, database_url)


async def test_a_cut_network_is_found_out_and_mended(
    start_nodes: StartNodes, postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with FaultProxy.before(postgres) as network:
        nodes = await start_nodes(
            2, database_url=network.url(database_url), poll_interval_s=SELDOM_S
        )
        await have_to_reach_what_is_written_now(nodes, database_url)
        network.cut()
        await run_sql(database_url, INSERT)
        for node in nodes:
            await node.logged("sync strategy failed, polling goes on; restarting it")
        network.heal()
        await all_reach(nodes, await newest_version(database_url))
        for node in nodes:
            await node.logged("sync strategy works again", reason="listening from now on")
        await have_to_reach_what_is_written_now(nodes, database_url)


async def test_announcements_that_never_come_are_made_up_for_by_polling(
    start_nodes: StartNodes, database_url: str
) -> None:
    nodes = await start_nodes(2, poll_interval_s=0.1)
    await have_to_reach_what_is_written_now(nodes, database_url)
    # As a connection pooler in transaction mode does, which takes LISTEN and forgets about it.
    await run_sql(
        database_url,
        """DO $$ BEGIN EXECUTE replace(
            pg_get_functiondef('gateway_publish_version'::regproc), 'PERFORM pg_notify', '-- '
        ); END $$""",
    )
    for _ in range(4):
        await have_to_reach_what_is_written_now(nodes, database_url)
    for node in nodes:
        await node.logged(
            "sync strategy failed, polling goes on; restarting it",
            problem="it announced none of the last versions",
        )

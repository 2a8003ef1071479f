"""What is old goes, a bite at a time; nobody waits for that, and nothing fails with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from gateway.settings import NodeSettings
from gateway.store import housekeeping
from gateway.store.audit import AuditFilter, AuditLog
from gateway.store.housekeeping import LOCK
from gateway.store.store import Store
from tests.store.rows import service
from tests.store.test_store import heartbeat


def run_sql(url: str, *statements: str) -> None:
    """Run statements, each a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def started(settings: NodeSettings, **changes: Any) -> AsyncIterator[Store]:
    store = Store(settings.model_copy(update=changes))
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


OLD = "audit WHERE occurred_at < now() - interval '1 day'"


def keys(number: int, expires: str) -> list[str]:
    """Return statements that make a consumer with so many keys."""
    return [
        "INSERT INTO consumers (username) VALUES ('bob') ON CONFLICT DO NOTHING",
        "INSERT INTO keyauth_credentials (consumer_id, key, expires_at) "
        f"SELECT consumers.id, gen_random_uuid(), {expires} "
        f"FROM consumers, generate_series(1, {number})",
    ]


def entries(number: int, days: str) -> str:
    """Return the statement that makes entries; ``days`` is how old entry ``n`` is."""
    return (
        "INSERT INTO audit (kind, entity_id, operation, occurred_at) "
        f"SELECT 'services', gen_random_uuid(), 'create', now() - make_interval(days => {days}) "
        f"FROM generate_series(1, {number}) AS n"
    )


async def test_entries_are_kept_for_as_long_as_is_set(settings: NodeSettings, database_url: str):
    run_sql(database_url, entries(9, days="n"))
    async with started(settings, audit_keep_days=6.5) as store:
        await store.tidy()
    assert count(database_url, "audit") == 6


async def test_many_old_entries_go_bite_by_bite(
    settings: NodeSettings, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    run_sql(database_url, entries(4 * housekeeping.BITE - 1, days="2"))
    monkeypatch.setattr(housekeeping, "MOST_BITES", 3)
    async with started(settings, audit_keep_days=1.0) as store:
        await store.tidy()
        assert count(database_url, "audit") == housekeeping.BITE - 1
        await store.tidy()
        assert count(database_url, "audit") == 0


async def test_keys_that_have_expired_are_removed_as_a_change_of_its_own(
    store: Store, database_url: str
):
    run_sql(database_url, *keys(3, "now() - interval '1 s'"), *keys(2, "now() + interval '1 h'"))
    run_sql(database_url, *keys(1, "NULL"))
    before = (await store.cluster()).version
    await store.tidy()
    assert count(database_url, "keyauth_credentials") == 3
    assert (await store.cluster()).version == before + 1
    page = await AuditLog(store).page(AuditFilter({"operation": "delete"}), 10)
    assert [(e.token, e.address, e.request_id) for e in page.entries] == [
        (None, None, "expiry")
    ] * 3
    await store.tidy()
    assert (await store.cluster()).version == before + 1


async def test_more_keys_than_a_bite_are_several_changes(store: Store, database_url: str):
    run_sql(database_url, *keys(housekeeping.BITE + 1, "now()"))
    before = (await store.cluster()).version
    await store.tidy()
    assert count(database_url, "keyauth_credentials") == 0
    assert (await store.cluster()).version == before + 2


async def test_the_removal_of_keys_gives_way_to_writers(store: Store, database_url: str):
    run_sql(database_url, *keys(1, "now()"))
    with capture_logs() as logs:
        async with store.write() as tx:
            await tx.insert("services", service())
            await store.tidy()
    (line,) = (line for line in logs if line["event"] == "housekeeping is put off")
    assert line["chore"] == "remove what has expired"
    assert "lock timeout" in line["error"]
    assert count(database_url, "keyauth_credentials") == 1
    await store.tidy()
    assert count(database_url, "keyauth_credentials") == 0


async def test_a_key_that_is_renewed_meanwhile_stays(store: Store, database_url: str):
    run_sql(database_url, *keys(1, "now()"))
    with psycopg.connect(database_url) as writer:
        writer.execute("UPDATE keyauth_credentials SET expires_at = now() + interval '1 h'")
        tidying = asyncio.create_task(store.tidy())
        await until(lambda: tidying.done() or count(database_url, WAITING) == 1)
    await tidying
    assert count(database_url, "keyauth_credentials") == 1


WAITING = """
    pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - the database sends no event
            await asyncio.sleep(0.01)


async def test_one_node_at_a_time_tidies_up(settings: NodeSettings, database_url: str):
    run_sql(database_url, entries(1, days="2"), *keys(1, "now()"))
    async with started(settings, audit_keep_days=1.0) as store:
        with psycopg.connect(database_url) as other:
            other.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            await store.tidy()
            assert count(database_url, OLD) == 1
            assert count(database_url, "keyauth_credentials") == 1
        await store.tidy()
        assert count(database_url, OLD) == 0
        assert count(database_url, "keyauth_credentials") == 0


async def test_a_heartbeat_does_not_care(settings: NodeSettings, database_url: str):
    run_sql(database_url, "ALTER TABLE audit RENAME TO gone")
    async with started(settings) as store:
        with capture_logs() as logs:
            await store.tidy()
            await store.heartbeat(heartbeat())
        assert len((await store.cluster()).nodes) == 1
    assert [line["chore"] for line in logs] == ["prune the audit log"]


async def test_it_is_done_again_and_again_for_as_long_as_the_store_runs(
    settings: NodeSettings, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(housekeeping, "INTERVAL_S", 0.01)
    async with started(settings, audit_keep_days=1.0):
        for _ in range(2):
            run_sql(database_url, entries(1, days="2"))
            await until(lambda: count(database_url, OLD) == 0)

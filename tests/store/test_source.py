"""What sync reads: exactly what changed, exactly as of one version, or everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from gateway.entities import ENTITIES, Row
from gateway.lab.fault_proxy import FaultProxy
from gateway.settings import NodeSettings
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.errors import StoreUnavailable
from gateway.store.source import (
    BATCH_ROWS,
    Batch,
    DatabaseSource,
    FullLoadReason,
    Load,
    VersionMark,
)
from gateway.store.store import Store
from tests.store.rows import route, service, target, upstream

END_CONNECTIONS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def source(settings: NodeSettings) -> AsyncIterator[DatabaseSource]:
    source = DatabaseSource(settings)
    yield source
    await source.close()


def run_sql(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


async def read(source: DatabaseSource, since: VersionMark | None) -> tuple[Load, list[Batch]]:
    async with source.load(since) as load:
        assert load is not None
        return load, [batch async for batch in load.batches]


async def insert(store: Store, table: str, row: Row) -> UUID:
    async with store.write() as tx:
        return (await tx.insert(table, row))["id"]


# -- versions


async def test_the_mark_moves_with_each_commit_and_only_then(
    store: Store, source: DatabaseSource
) -> None:
    before = await source.seen()
    async with store.write() as tx:
        await tx.insert("services", service())
        assert await source.seen() == before
    after = await source.seen()
    assert (before.version, after.version) == (0, 1)
    assert before.epoch == after.epoch
    assert before.committed_at < after.committed_at


async def test_nothing_newer_is_nothing_to_load(store: Store, source: DatabaseSource) -> None:
    await insert(store, "services", service())
    async with source.load(await source.seen()) as load:
        assert load is None


# -- changes


async def test_a_change_set_comes_as_rows_and_ids_that_are_gone(
    store: Store, source: DatabaseSource
) -> None:
    kept = await insert(store, "services", service())
    gone = await insert(store, "services", service())
    untouched = await insert(store, "services", service())
    mark = await source.seen()
    async with store.write() as tx:
        await tx.update("services", kept, {"port": 81})
        await tx.delete("services", gone)
        new = (await tx.insert("routes", route(kept)))["id"]
    load, batches = await read(source, mark)
    assert (load.kind, load.mark.version, load.reason) == ("changes", mark.version + 1, None)
    assert [batch.table for batch in batches] == ["services", "routes"]
    services, routes = batches
    assert [(row["id"], row["port"]) for row in services.rows] == [(kept, 81)]
    assert services.deleted == [gone]
    assert [(row["id"], row["service_id"]) for row in routes.rows] == [(new, kept)]
    assert untouched not in {row["id"] for row in services.rows}
    assert set(services.rows[0]) == {f.column for f in ENTITIES["services"].fields.values()}


async def test_several_versions_come_as_one_load_with_the_newest_rows(
    store: Store, source: DatabaseSource
) -> None:
    mark = await source.seen()
    changed = await insert(store, "services", service())
    for port in (81, 82, 83):
        async with store.write() as tx:
            await tx.update("services", changed, {"port": port})
    brief = await insert(store, "services", service())
    async with store.write() as tx:
        await tx.delete("services", brief)
    load, (batch,) = await read(source, mark)
    assert [row["port"] for row in batch.rows] == [83]
    assert batch.deleted == [brief]
    assert load.mark == await source.seen()
    assert load.oldest_committed_at < load.committed_at <= load.read_at


async def test_what_goes_with_its_parent_is_listed_too(
    store: Store, source: DatabaseSource
) -> None:
    parent = await insert(store, "upstreams", upstream())
    child = await insert(store, "targets", target(parent))
    mark = await source.seen()
    async with store.write() as tx:
        await tx.delete("upstreams", parent)
    _, batches = await read(source, mark)
    assert {batch.table: batch.deleted for batch in batches} == {
        "upstreams": [parent],
        "targets": [child],
    }


async def test_many_changes_come_in_batches(source: DatabaseSource, database_url: str) -> None:
    mark = await source.seen()
    number = 2 * BATCH_ROWS + 1
    run_sql(
        database_url,
        f"INSERT INTO services (host) SELECT 'h' || i FROM generate_series(1, {number}) AS i",
    )
    load, batches = await read(source, mark)
    assert load.kind == "changes"
    assert [len(batch.rows) for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 1]
    assert len({row["id"] for batch in batches for row in batch.rows}) == number


async def test_kinds_that_a_newer_release_added_are_passed_over(
    source: DatabaseSource, database_url: str
) -> None:
    mark = await source.seen()
    run_sql(
        database_url,
        "CREATE TABLE colours (id uuid PRIMARY KEY); "
        "SELECT gateway_track_changes('colours'); "
        "INSERT INTO colours VALUES (gen_random_uuid());",
    )
    load, batches = await read(source, mark)
    assert (load.mark.version, batches) == (mark.version + 1, [])


# -- everything


async def test_the_first_load_is_everything_parents_before_children(
    store: Store, source: DatabaseSource
) -> None:
    parent = await insert(store, "services", service())
    child = await insert(store, "routes", route(parent))
    load, batches = await read(source, None)
    assert (load.kind, load.reason, load.mark.version) == ("full", FullLoadReason.ASKED, 2)
    assert [(b.table, [row["id"] for row in b.rows], b.deleted) for b in batches] == [
        ("services", [parent], []),
        ("routes", [child], []),
    ]
    assert load.oldest_committed_at == load.committed_at


async def test_a_load_is_of_one_version_whatever_happens_meanwhile(
    store: Store, source: DatabaseSource, database_url: str
) -> None:
    run_sql(
        database_url,
        "INSERT INTO services (host) SELECT 'old' FROM generate_series(1, 250); "
        "INSERT INTO upstreams (name) SELECT 'old' || i FROM generate_series(1, 5) AS i",
    )
    hosts, names = [], []
    async with source.load(None) as load:
        assert load is not None
        async for batch in load.batches:
            if not hosts:
                run_sql(database_url, "UPDATE services SET host = 'new'; DELETE FROM upstreams")
            hosts += [row["host"] for row in batch.rows if batch.table == "services"]
            names += [row["name"] for row in batch.rows if batch.table == "upstreams"]
    assert hosts == ["old"] * 250
    assert len(names) == 5


async def test_a_node_within_the_kept_log_reads_changes_and_one_further_behind_everything(
    store: Store, settings: NodeSettings
) -> None:
    short = settings.model_copy(update={"change_log_keep": 3})
    source, marks = DatabaseSource(short), []
    for _ in range(6):
        await insert(store, "services", service())
        marks.append(await source.seen())
    pruning = Store(short)
    await pruning.start()
    await pruning.tidy()
    await pruning.stop()
    for mark in marks[:2]:
        load, _ = await read(source, mark)
        assert (load.kind, load.reason) == ("full", FullLoadReason.LOG_TOO_SHORT)
    for mark in marks[2:5]:
        load, batches = await read(source, mark)
        assert load.kind == "changes"
        assert len(batches[0].rows) == marks[-1].version - mark.version
    await source.close()


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("UPDATE config_version SET epoch = gen_random_uuid()", FullLoadReason.OTHER_EPOCH),
        ("UPDATE config_version SET version = version - 1", FullLoadReason.WENT_BACK),
        (
            "UPDATE config_version SET committed_at = now() WHERE true; "
            "UPDATE change_sets SET committed_at = now() WHERE version = 2",
            FullLoadReason.OTHER_HISTORY,
        ),
        ("DELETE FROM change_sets WHERE version = 2", FullLoadReason.LOG_TOO_SHORT),
    ],
)
async def test_a_database_that_is_not_as_it_was_is_loaded_whole(
    store: Store, source: DatabaseSource, database_url: str, sql: str, reason: FullLoadReason
) -> None:
    for _ in range(2):
        await insert(store, "services", service())
    mark = await source.seen()
    run_sql(database_url, sql)
    run_sql(database_url, "INSERT INTO upstreams (name) VALUES ('later')")
    if reason is FullLoadReason.WENT_BACK:
        mark = replace(mark, version=mark.version + 1)
    load, _ = await read(source, mark)
    assert (load.kind, load.reason) == ("full", reason)


async def test_a_history_that_overtook_the_one_it_replaced_is_noticed(
    store: Store, source: DatabaseSource
) -> None:
    for _ in range(3):
        await insert(store, "services", service())
    mark = await source.seen()
    restored_meanwhile = replace(mark, version=2, committed_at=mark.committed_at - timedelta(1))
    load, _ = await read(source, restored_meanwhile)
    assert (load.kind, load.reason) == ("full", FullLoadReason.OTHER_HISTORY)


# -- faults


async def test_what_the_reader_of_a_load_raises_is_its_own(
    store: Store, source: DatabaseSource
) -> None:
    await insert(store, "services", service())

    async def fail_while_reading(error: Exception) -> None:
        async with source.load(None) as load:
            assert load is not None
            await anext(load.batches)
            raise error

    for error in (TimeoutError("mine"), OSError("mine"), ValueError("mine")):
        with pytest.raises(type(error), match="mine"):
            await fail_while_reading(error)
    assert (await source.seen()).version == 1


async def test_a_restarted_server_goes_unnoticed_between_questions(
    source: DatabaseSource, database_url: str
) -> None:
    before = await source.seen()
    run_sql(database_url, END_CONNECTIONS)
    assert await source.seen() == before


async def test_a_connection_lost_in_the_middle_is_unavailable_and_the_next_try_works(
    source: DatabaseSource, database_url: str
) -> None:
    run_sql(database_url, "INSERT INTO services (host) SELECT 'h' FROM generate_series(1, 500)")

    async def lose_the_connection_while_reading() -> None:
        async with source.load(None) as load:
            assert load is not None
            async for _ in load.batches:
                run_sql(database_url, END_CONNECTIONS)

    with pytest.raises(StoreUnavailable):
        await lose_the_connection_while_reading()
    _, batches = await read(source, None)
    assert sum(len(batch.rows) for batch in batches) == 500


async def test_a_stalled_database_is_given_up_and_found_again(
    settings: NodeSettings, postgres: EmbeddedPostgres
) -> None:
    async with FaultProxy.before(postgres) as proxy:
        url = proxy.url(settings.database_url.get_secret_value())
        impatient = {"database_url": SecretStr(url), "database_statement_timeout_s": 0.1}
        source = DatabaseSource(settings.model_copy(update=impatient))
        before = await source.seen()
        proxy.stall()
        with pytest.raises(StoreUnavailable, match="no answer within"):
            await source.seen()
        proxy.heal()
        assert await source.seen() == before
        await source.close()


async def test_cancelling_does_not_wait_for_a_stalled_database(
    settings: NodeSettings, postgres: EmbeddedPostgres
) -> None:
    async with FaultProxy.before(postgres) as proxy:
        url = SecretStr(proxy.url(settings.database_url.get_secret_value()))
        source = DatabaseSource(settings.model_copy(update={"database_url": url}))
        await source.seen()
        proxy.stall()
        asking = asyncio.create_task(source.seen())
        await proxy.has_stalled()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        assert asking.cancelled()


async def test_a_missing_version_row_is_said(source: DatabaseSource, database_url: str) -> None:
    run_sql(database_url, "DELETE FROM config_version")
    with pytest.raises(StoreUnavailable, match="config_version has no row"):
        await source.seen()
    with pytest.raises(StoreUnavailable, match="config_version has no row"):
        async with source.load(None):
            pass

"""Commit order is version order: a reader that replays the log is never wrong, never behind a gap.

Several nodes write through their stores, others write SQL by hand, with sleeps inside their
transactions so that these begin in another order than they end, with rollbacks, savepoints and
cascades. A reader asks again and again what is new since its last mark, and after each answer what
it has must be what the tables hold at that version.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import psycopg
import pytest

from gateway.entities import ENTITIES, Row
from gateway.settings import NodeSettings
from gateway.store.errors import ForeignKeyMissing, StillReferenced
from gateway.store.source import DatabaseSource, Load, VersionMark
from gateway.store.store import Store, WriteTransaction
from tests.store.rows import route, service, target, upstream

NODES = 4
HANDS = 3
TRANSACTIONS = 30

Contents = dict[tuple[str, UUID], Row]


class ReplayingReader:
    """Keeps a copy by replaying loads; compares it with the tables of the same version."""

    def __init__(self, settings: NodeSettings) -> None:
        self._source = DatabaseSource(settings)
        self.mark: VersionMark | None = None
        self.contents: Contents = {}
        self.steps = 0

    async def step(self) -> None:
        async with self._source.load(self.mark) as load:
            if load is None:
                return
            self._check_order(load)
            await self._replay(load)
            assert self.contents == await self._tables()
            self.mark = load.mark
            self.steps += 1

    async def close(self) -> None:
        await self._source.close()

    def _check_order(self, load: Load) -> None:
        if self.mark is None:
            assert load.kind == "full"
            return
        assert load.kind == "changes"
        assert load.mark.epoch == self.mark.epoch
        assert load.mark.version > self.mark.version
        assert load.mark.committed_at > self.mark.committed_at
        assert self.mark.committed_at < load.oldest_committed_at <= load.committed_at

    async def _replay(self, load: Load) -> None:
        async for batch in load.batches:
            for row in batch.rows:
                self.contents[batch.table, row["id"]] = row
            for id_ in batch.deleted:
                self.contents.pop((batch.table, id_), None)

    async def _tables(self) -> Contents:
        """Return what the tables hold, in the transaction of the open load."""
        connection = self._source._connection
        assert connection is not None
        contents: Contents = {}
        for table in ENTITIES:
            cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
            async for row in await cursor.execute(f"SELECT * FROM {table}"):
                contents[table, row["id"]] = row
        return contents


async def any_id(tx: WriteTransaction, table: str, dice: random.Random) -> UUID | None:
    rows = (await tx.page(table, size=100)).rows
    return dice.choice(rows)["id"] if rows else None


async def create(tx: WriteTransaction, dice: random.Random) -> None:
    parent = await tx.insert("services", service())
    await asyncio.sleep(dice.random() / 200)
    await tx.insert("routes", route(parent["id"]))
    pool = await tx.insert("upstreams", upstream())
    await tx.insert("targets", target(pool["id"]))


async def change(tx: WriteTransaction, dice: random.Random) -> None:
    for table, values in (("services", {"port": 81}), ("targets", {"weight": 7})):
        if id_ := await any_id(tx, table, dice):
            await tx.update(table, id_, {**values, "tags": [str(dice.random())]})
        await asyncio.sleep(dice.random() / 200)


async def remove(tx: WriteTransaction, dice: random.Random) -> None:
    for table in ("upstreams", "routes", "services"):
        if id_ := await any_id(tx, table, dice):
            await tx.delete(table, id_)


async def regret(tx: WriteTransaction, dice: random.Random) -> None:
    await create(tx, dice)
    raise LookupError


async def write_through_a_node(settings: NodeSettings, seed: int, versions: list[int]) -> None:
    dice = random.Random(seed)
    steps = [create, create, change, change, remove, regret]
    async with started(settings) as store:
        for _ in range(TRANSACTIONS):
            with suppress(LookupError, StillReferenced, ForeignKeyMissing):
                async with store.write() as tx:
                    before = (await tx.page("services", size=1), tx.version)
                    await dice.choice(steps)(tx, dice)
                assert before[1] <= tx.version <= before[1] + 1
                if tx.version > before[1]:
                    versions.append(tx.version)


BY_HAND = [
    "INSERT INTO services (host) SELECT 'bulk' FROM generate_series(1, 5)",
    "SELECT pg_sleep(0.01); INSERT INTO upstreams (name) VALUES (gen_random_uuid()::text)",
    "UPDATE services SET port = port + 1 WHERE host = 'bulk'; SELECT pg_sleep(0.005)",
    "UPDATE services SET id = gen_random_uuid() WHERE id IN "
    "(SELECT id FROM services WHERE host = 'bulk' LIMIT 1)",
    "DELETE FROM upstreams WHERE id IN (SELECT id FROM upstreams LIMIT 2)",
    "INSERT INTO targets (upstream_id, target) SELECT id, 'by.hand:1' FROM upstreams "
    "ON CONFLICT (upstream_id, target) DO UPDATE SET weight = 3",
    "DELETE FROM services WHERE host = 'nowhere'",
    "SAVEPOINT s; DELETE FROM routes; ROLLBACK TO s; "
    "WITH gone AS (DELETE FROM routes WHERE id IN (SELECT id FROM routes LIMIT 1) RETURNING 1) "
    "INSERT INTO services (host) SELECT 'bulk' FROM gone",
    "SET CONSTRAINTS ALL IMMEDIATE; INSERT INTO services (host) VALUES ('early'); "
    "DELETE FROM services WHERE host = 'early'",
]


async def write_by_hand(url: str, seed: int) -> None:
    dice = random.Random(seed)
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        for _ in range(TRANSACTIONS):
            statements = "; ".join(dice.sample(BY_HAND, dice.randint(1, 3)))
            end = "ROLLBACK" if dice.random() < 0.2 else "COMMIT"
            try:
                await connection.execute(f"BEGIN; {statements}; {end}")
            except psycopg.IntegrityError:
                # A statement that waited for its turn refers to what has been deleted meanwhile.
                await connection.execute("ROLLBACK")


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_reader_replaying_the_log_always_has_what_the_tables_hold(
    settings: NodeSettings, database_url: str, seed: int
) -> None:
    reader, versions = ReplayingReader(settings), []
    await reader.step()
    async with asyncio.TaskGroup() as group:
        writers = [
            *(
                group.create_task(write_through_a_node(settings, seed * 100 + n, versions))
                for n in range(NODES)
            ),
            *(group.create_task(write_by_hand(database_url, seed * 100 - n)) for n in range(HANDS)),
        ]
        while not all(writer.done() for writer in writers):
            await reader.step()
            await asyncio.sleep(0)
    await reader.step()
    await reader.close()

    assert reader.mark is not None
    assert reader.steps > TRANSACTIONS / 2
    assert len(set(versions)) == len(versions) > TRANSACTIONS
    await check_log(database_url, reader.mark.version)


async def check_log(url: str, newest: int) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        logged = await rows(connection, "SELECT version, committed_at FROM change_sets ORDER BY 1")
        assert [version for version, _ in logged] == list(range(newest + 1))
        times = [committed_at for _, committed_at in logged]
        assert times == sorted(times)
        empty = await rows(
            connection,
            "SELECT version FROM change_sets WHERE version > 0 EXCEPT SELECT version FROM changes",
        )
        assert empty == []
        left = await rows(connection, "SELECT written_by FROM config_version")
        assert left == [(None,)]


async def rows(connection: psycopg.AsyncConnection, query: str) -> list[Any]:
    return await (await connection.execute(query)).fetchall()


@asynccontextmanager
async def started(settings: NodeSettings) -> AsyncIterator[Store]:
    store = Store(settings)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


# -- single cases that the storm above may pass by


async def logged(url: str) -> list[tuple[str, str, int]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        query = "SELECT version, kind, operation, count(*) FROM changes GROUP BY 1, 2, 3 ORDER BY 1"
        return await rows(connection, query)


async def run_sql(url: str, sql: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(sql)


async def test_ten_thousand_rows_in_one_transaction_are_one_version(database_url: str) -> None:
    await run_sql(
        database_url,
        "BEGIN; INSERT INTO services (host) SELECT 'h' FROM generate_series(1, 10000); "
        "UPDATE services SET port = 81; COMMIT",
    )
    await run_sql(database_url, "UPDATE services SET port = 82")
    await run_sql(database_url, "DELETE FROM services")
    assert await logged(database_url) == [
        (1, "services", "create", 10_000),
        (2, "services", "update", 10_000),
        (3, "services", "delete", 10_000),
    ]


async def test_cascades_are_part_of_the_version_of_their_cause(database_url: str) -> None:
    await run_sql(
        database_url,
        "BEGIN; INSERT INTO upstreams (name) SELECT 'u' || i FROM generate_series(1, 50) AS i; "
        "INSERT INTO targets (upstream_id, target) SELECT id, 'a:1' FROM upstreams; COMMIT",
    )
    await run_sql(database_url, "DELETE FROM upstreams")
    assert (await logged(database_url))[2:] == [
        (2, "targets", "delete", 50),
        (2, "upstreams", "delete", 50),
    ]


async def test_truncate_is_refused_with_a_hint(database_url: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="Use DELETE FROM services"):
        await run_sql(database_url, "TRUNCATE services CASCADE")


async def test_a_search_path_of_ones_own_does_not_matter(database_url: str) -> None:
    await run_sql(
        database_url,
        "CREATE SCHEMA mine; CREATE TABLE mine.changes (LIKE public.changes); "
        "CREATE TABLE mine.config_version (LIKE public.config_version); "
        "SET search_path = mine; INSERT INTO public.services (host) VALUES ('h')",
    )
    assert await logged(database_url) == [(1, "services", "create", 1)]


async def test_a_version_is_announced_when_it_can_be_read(
    settings: NodeSettings, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as listener:
        await listener.execute("LISTEN gateway_config_version")
        async with started(settings) as store, store.write() as tx:
            await tx.insert("services", service())
            await tx.insert("services", service())
        async for notification in listener.notifies(timeout=10, stop_after=1):
            assert notification.payload == "1"


async def test_a_slow_transaction_is_stamped_with_the_time_of_its_end(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("INSERT INTO services (host) VALUES ('h')")
        (written_at,) = (await rows(connection, "SELECT clock_timestamp() FROM pg_sleep(0.05)"))[0]
        await connection.commit()
        (committed_at,) = (await rows(connection, "SELECT committed_at FROM config_version"))[0]
    assert committed_at > written_at

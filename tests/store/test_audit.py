"""The audit log has whatever changed, who asked for it, and no secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from gateway.entities import ENTITIES
from gateway.store.actor import Actor
from gateway.store.audit import ENTRIES_AT_ONCE, AuditEntry, AuditFilter, AuditLog
from gateway.store.store import Store
from tests.store.rows import service

ANN = Actor("ann", "192.0.2.1", "f00")


@pytest.fixture
async def log(store: Store) -> AsyncIterator[AuditLog]:
    return AuditLog(store)


def run_sql(url: str, *statements: str) -> None:
    """Run statements, each a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


async def entries(log: AuditLog, **where: Any) -> list[AuditEntry]:
    """All entries, the oldest first."""
    return (await log.page(AuditFilter(where), 100_000)).entries[::-1]


# -- what is kept


async def test_an_entry_has_the_rows_before_and_after_and_who_asked(store: Store, log: AuditLog):
    row = service(name="orders", tags=["a"])
    async with store.write(ANN) as tx:
        await tx.insert("services", row)
    async with store.write(ANN) as tx:
        await tx.update("services", row["id"], {"host": "b.test", "port": 80})
    async with store.write(ANN) as tx:
        await tx.delete("services", row["id"])
    created, updated, deleted = await entries(log)
    assert created.after is not None
    assert created.after.items() >= {"id": str(row["id"]), "tags": ["a"], "port": 80}.items()
    assert (created.before, created.changed) == (None, None)
    assert updated.before == created.after
    assert updated.after == created.after | {"host": "b.test"}
    assert updated.changed == ["host"]
    assert (deleted.before, deleted.after, deleted.changed) == (updated.after, None, None)
    assert [entry.version for entry in (created, updated, deleted)] == [1, 2, 3]
    for entry in (created, updated, deleted):
        assert (entry.kind, entry.entity_id) == ("services", row["id"])
        assert (entry.token, entry.address, entry.request_id) == ("ann", "192.0.2.1", "f00")


async def test_sql_by_hand_is_known_by_its_role(log: AuditLog, database_url: str):
    run_sql(database_url, "CREATE ROLE hand; GRANT ALL ON ALL TABLES IN SCHEMA public TO hand")
    run_sql(
        database_url,
        "SET SESSION AUTHORIZATION hand; INSERT INTO services (host) VALUES ('a')",
    )
    (entry,) = await entries(log)
    assert entry.db_role == "hand"
    assert (entry.token, entry.address, entry.request_id) == (None, None, None)
    run_sql(database_url, "DROP OWNED BY hand; DROP ROLE hand")


async def test_an_actor_is_forgotten_with_its_transaction(store: Store, log: AuditLog):
    async with store.write(ANN) as tx:
        await tx.insert("services", service())
    async with store.write() as tx:
        await tx.insert("services", service())
    assert [entry.token for entry in await entries(log)] == ["ann", None]


async def test_what_goes_with_its_parent_is_kept_with_who_removed_that(
    store: Store, log: AuditLog, database_url: str
):
    run_sql(
        database_url,
        """
        INSERT INTO consumers (username) VALUES ('bob');
        INSERT INTO keyauth_credentials (consumer_id, key) SELECT id, 'k' FROM consumers;
        INSERT INTO acls (consumer_id, "group") SELECT id, unnest('{x,y}'::text[]) FROM consumers;
        INSERT INTO plugins (name, consumer_id) SELECT 'quota', id FROM consumers;
        """,
    )
    async with store.write(ANN) as tx:
        bob = await tx.get("consumers", "username", "bob")
        assert bob is not None
        await tx.delete("consumers", bob["id"])
    gone = [entry for entry in await entries(log) if entry.operation == "delete"]
    kinds = ["acls", "acls", "consumers", "keyauth_credentials", "plugins"]
    assert sorted(entry.kind for entry in gone) == kinds
    assert {(entry.token, entry.version) for entry in gone} == {("ann", tx.version)}


async def test_what_a_transaction_does_to_an_entity_is_kept_step_by_step(
    log: AuditLog, database_url: str
):
    run_sql(
        database_url,
        """
        INSERT INTO services (name, host) VALUES ('s', 'a');
        UPDATE services SET host = 'b';
        UPDATE services SET host = 'b';
        UPDATE services SET id = gen_random_uuid();
        DELETE FROM services;
        """,
    )
    steps = await entries(log)
    assert {(entry.version, entry.kind) for entry in steps} == {(1, "services")}
    assert [entry.changed for entry in steps[:3]] == [None, ["host"], []]
    renamed = {entry.operation: entry for entry in steps[3:5]}
    assert renamed.keys() == {"create", "delete"}
    assert renamed["delete"].entity_id == steps[0].entity_id
    assert steps[5].operation == "delete"
    assert steps[5].entity_id == renamed["create"].entity_id


async def test_a_statement_about_many_rows_is_kept_row_by_row(log: AuditLog, database_url: str):
    many = 10_000
    insert = "INSERT INTO services (host) SELECT 'h' || n FROM generate_series"
    run_sql(database_url, f"{insert}(1, {many}) AS n")
    assert len(await entries(log, version=1, operation="create")) == many


async def test_what_is_rolled_back_has_not_happened(store: Store, log: AuditLog):
    with suppress(LookupError):
        async with store.write(ANN) as tx:
            await tx.insert("services", service())
            raise LookupError
    assert await entries(log) == []


# -- restored tables


async def test_a_restored_table_shows_what_it_was_and_is(log: AuditLog, database_url: str):
    run_sql(
        database_url,
        "INSERT INTO services (name, host) VALUES ('s', 'old')",
        "CREATE TEMP TABLE backup AS SELECT * FROM services",
        "UPDATE services SET host = 'new'",
        "DELETE FROM services; INSERT INTO services SELECT * FROM backup",
    )
    *_, gone, back = await entries(log)
    assert [(entry.operation, entry.version) for entry in (gone, back)] == [
        ("delete", 3),
        ("create", 3),
    ]
    assert gone.before is not None
    assert back.after is not None
    assert (gone.before["host"], back.after["host"]) == ("new", "old")


async def test_versions_given_out_again_leave_the_first_history(log: AuditLog, database_url: str):
    run_sql(
        database_url,
        "INSERT INTO services (name, host) VALUES ('s', 'a')",
        "UPDATE services SET host = 'b'",
        "UPDATE config_version SET version = 1",
        "UPDATE services SET host = 'c'",
    )
    history = [(e.version, e.after and e.after["host"]) for e in await entries(log)]
    assert history == [(1, "a"), (2, "b"), (2, "c")]


# -- secrets


async def test_the_columns_that_are_masked_are_those_declared_as_secret(database_url: str):
    with psycopg.connect(database_url) as connection:
        for table, entity_type in ENTITIES.items():
            declared = [field.column for field in entity_type.fields.values() if field.secret]
            query = "SELECT coalesce(gateway_secret_columns(%s), '{}')"
            assert connection.execute(query, (table,)).fetchone() == (declared,), table


SECRETS = [
    ("certificates", "cert, key", "'public', 'SECRET'", "key"),
    (
        "certificates",
        "cert, key, cert_alt, key_alt",
        "'public', 'k', 'public', 'SECRET'",
        "key_alt",
    ),
    ("keyauth_credentials", "consumer_id, key", "consumer.id, 'SECRET'", "key"),
    (
        "basicauth_credentials",
        "consumer_id, username, password",
        "consumer.id, 'u', 'SECRET'",
        "password",
    ),
    ("jwt_secrets", "consumer_id, key, secret", "consumer.id, 'k', 'SECRET'", "secret"),
    (
        "hmacauth_credentials",
        "consumer_id, username, secret",
        "consumer.id, 'u', 'SECRET'",
        "secret",
    ),
]


@pytest.mark.parametrize(("table", "columns", "values", "secret"), SECRETS)
async def test_a_secret_is_not_kept_but_that_it_changed_is(
    log: AuditLog, database_url: str, table: str, columns: str, values: str, secret: str
):
    run_sql(
        database_url,
        f"""
        INSERT INTO consumers (username) VALUES ('bob');
        INSERT INTO {table} ({columns}) SELECT {values} FROM consumers AS consumer;
        UPDATE {table} SET {secret} = 'SECRET, TOO';
        UPDATE {table} SET tags = '{{a}}';
        DELETE FROM {table};
        """,
    )
    created, renewed, tagged, deleted = await entries(log, kind=table)
    for row in (created.after, renewed.before, renewed.after, deleted.before):
        assert row is not None
        assert row[secret] == "******"
    assert (renewed.changed, tagged.changed) == ([secret], ["tags"])
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("SELECT string_agg(audit::text, '') FROM audit").fetchone()
    assert kept is not None
    assert "SECRET" not in kept[0]


async def test_that_there_is_no_secret_is_shown(log: AuditLog, database_url: str):
    run_sql(
        database_url,
        """
        INSERT INTO certificates (cert, key) VALUES ('c', 'k');
        UPDATE certificates SET cert_alt = 'd', key_alt = 'l';
        """,
    )
    created, updated = await entries(log)
    assert created.after is not None
    assert updated.after is not None
    assert (created.after["key_alt"], updated.after["key_alt"]) == (None, "******")
    assert sorted(updated.changed or []) == ["cert_alt", "key_alt"]


# -- reading


async def written(store: Store, number: int) -> list[UUID]:
    """Write so many services in transactions of their own, the first one by Ann."""
    ids = [uuid4() for _ in range(number)]
    for id_ in ids:
        async with store.write(ANN if id_ == ids[0] else None) as tx:
            await tx.insert("services", service(id=id_))
    return ids


async def test_pages_go_from_the_newest_to_the_oldest(store: Store, log: AuditLog):
    ids = await written(store, 7)
    seen: list[AuditEntry] = []
    while page := (await log.page(AuditFilter(), 3, seen[-1].id if seen else None)).entries:
        assert len(page) <= 3
        seen += page
    assert [entry.entity_id for entry in seen] == ids[::-1]
    assert await log.get(seen[0].id) == seen[0]
    assert await log.get(seen[0].id + 1) is None


async def test_pages_may_be_larger_than_what_is_read_at_once(log: AuditLog, database_url: str):
    many = 2 * ENTRIES_AT_ONCE + 1
    insert = "INSERT INTO services (host) SELECT 'h' || n FROM generate_series"
    run_sql(database_url, f"{insert}(1, {many}) AS n")
    run_sql(database_url, "UPDATE audit SET occurred_at = now()")
    found = (await log.page(AuditFilter(), many + 1)).entries
    assert [entry.id for entry in found] == sorted({e.id for e in found}, reverse=True)
    assert len(found) == many


async def test_there_is_nothing_after_an_entry_that_was_pruned(
    store: Store, log: AuditLog, database_url: str
):
    await written(store, 3)
    *_, last = (await log.page(AuditFilter(), 2)).entries
    run_sql(database_url, f"DELETE FROM audit WHERE id = {last.id}")
    assert (await log.page(AuditFilter(), 2, last.id)).entries == []


async def test_filters_select_by_columns_and_time(store: Store, log: AuditLog, database_url: str):
    ids = await written(store, 3)
    run_sql(database_url, "UPDATE audit SET occurred_at = date '2026-01-01' + id::int")
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (2, 3, 4)]

    async def found(since: datetime | None = None, until: datetime | None = None, **where: Any):
        page = await log.page(AuditFilter(where, since, until), 10)
        return [ids.index(entry.entity_id) for entry in page.entries]

    assert await found() == [2, 1, 0]
    assert await found(token="ann") == [0]
    assert await found(kind="services", operation="create", version=2) == [1]
    assert await found(kind="routes") == []
    assert await found(entity_id=ids[1], address="192.0.2.1") == []
    assert await found(since=times[1]) == [2, 1]
    assert await found(until=times[1]) == [0]
    assert await found(since=times[1], until=times[1] + timedelta(microseconds=1)) == [1]

"""The store: what is written is read back, what cannot be written says exactly why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from pydantic import SecretStr

from gateway.entities import Row
from gateway.lab.fault_proxy import FaultProxy
from gateway.settings import NodeSettings
from gateway.store import store as store_module
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.errors import (
    ForeignKeyMissing,
    PrimaryKeyConflict,
    StillReferenced,
    StoreUnavailable,
    UniqueConflict,
    UnstorableValue,
)
from gateway.store.store import Heartbeat, Store
from gateway.store.transactions import Having
from tests.store.rows import route, service, target, upstream


async def insert(store: Store, table: str, row: Row) -> Row:
    async with store.write() as tx:
        return await tx.insert(table, row)


def run_sql(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


# -- reading what was written


async def test_a_written_row_comes_back_with_its_defaults(store: Store) -> None:
    created_at = datetime(2020, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    given = upstream(
        name="backend",
        tags=["a", "ü"],
        created_at=created_at,
        healthchecks={"threshold": 1.5, "active": {"healthy": {"http_statuses": [200]}}},
    )
    stored = await insert(store, "upstreams", given)
    async with store.read() as tx:
        assert await tx.get("upstreams", "id", given["id"]) == stored
        assert await tx.get("upstreams", "name", "backend") == stored
        assert await tx.get("upstreams", "name", "Backend") is None
    assert stored.items() >= given.items()
    assert (stored["slots"], stored["hash_on"], stored["host_header"]) == (10_000, "none", None)


async def test_find_compares_all_columns_and_none_with_null(store: Store) -> None:
    one, two = upstream(), upstream()
    async with store.write() as tx:
        await tx.insert("upstreams", one)
        await tx.insert("upstreams", two)
        await tx.insert("targets", target(one["id"]))
        await tx.insert("targets", sought := target(two["id"]))
    async with store.read() as tx:
        where = {"upstream_id": two["id"], "target": "a.test:80", "tags": None}
        found = await tx.find("targets", where)
        assert found is not None
        assert found["id"] == sought["id"]
        assert await tx.find("targets", where | {"target": "b.test:80"}) is None


async def test_a_condition_may_allow_several_values_or_ask_for_an_element(store: Store) -> None:
    for name, tags in (("a", ["x", "y"]), ("b", ["y"]), ("c", None)):
        await insert(store, "services", service(name=name, tags=tags))

    async def found(**where: Any) -> set[str]:
        async with store.read() as tx:
            return {row["name"] for row in (await tx.page("services", size=10, where=where)).rows}

    assert await found(name=("a", "c", "d")) == {"a", "c"}
    assert await found(name=()) == set()
    assert await found(tags=Having("y")) == {"a", "b"}
    assert await found(tags=Having("x"), name=("b",)) == set()


async def test_pages_go_through_all_entities_once_in_the_order_of_ids(store: Store) -> None:
    rows = [service() for _ in range(25)]
    async with store.write() as tx:
        for row in rows:
            await tx.insert("services", row)
    seen: list[UUID] = []
    async with store.read() as tx:
        while page := (
            await tx.page("services", size=10, after_id=seen[-1] if seen else None)
        ).rows:
            seen += [row["id"] for row in page]
    assert seen == sorted(row["id"] for row in rows)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"tags_all": ["x"]}, {"x", "xy"}),
        ({"tags_all": ["x", "y"]}, {"xy"}),
        ({"tags_any": ["x", "y"]}, {"x", "y", "xy"}),
        ({"tags_any": ["z"]}, set()),
        ({"where": {"tags": None}}, {"none"}),
        ({"where": {"name": "y"}, "tags_all": ["x"]}, set()),
    ],
)
async def test_pages_are_filtered(store: Store, filters: dict[str, Any], names: set[str]) -> None:
    async with store.write() as tx:
        for name, tags in {"x": ["x"], "y": ["y"], "xy": ["y", "x"], "none": None}.items():
            await tx.insert("services", service(name=name, tags=tags))
    async with store.read() as tx:
        page = (await tx.page("services", size=100, **filters)).rows
    assert {row["name"] for row in page} == names


# -- versions


async def test_each_write_transaction_makes_one_version(store: Store) -> None:
    async with store.write() as first:
        created = await first.insert("services", service())
        await first.insert("routes", route(created["id"]))
    async with store.write() as second:
        await second.update("services", created["id"], {"port": 81})
    assert (first.version, second.version) == (1, 2)
    assert (await store.cluster()).version == 2


async def test_a_transaction_that_changes_nothing_leaves_the_version(store: Store) -> None:
    await insert(store, "services", service())
    async with store.write() as tx:
        assert await tx.update("services", uuid4(), {"port": 81}) is None
        assert await tx.delete("services", uuid4()) is False
    assert tx.version == (await store.cluster()).version == 1


async def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    with suppress(LookupError):
        async with store.write() as tx:
            await tx.insert("services", service())
            raise LookupError
    async with store.read() as reading:
        assert (await reading.page("services", size=1)).rows == []
    assert (await store.cluster()).version == 0


async def test_version_and_time_are_those_of_the_commit(store: Store) -> None:
    async with store.write() as tx:
        await tx.insert("services", service())
        before_commit = (await store.cluster()).now
    assert (await store.cluster()).committed_at > before_commit


# -- conflicts


async def test_a_taken_id_is_a_primary_key_conflict(store: Store) -> None:
    row = await insert(store, "services", service())
    with pytest.raises(PrimaryKeyConflict) as error:
        await insert(store, "services", service(id=row["id"]))
    assert (error.value.table, error.value.id) == ("services", row["id"])


async def test_a_taken_name_is_a_unique_conflict(store: Store) -> None:
    await insert(store, "services", service(name="taken"))
    other = await insert(store, "services", service())
    for writing in (
        lambda tx: tx.insert("services", service(name="taken")),
        lambda tx: tx.update("services", other["id"], {"name": "taken", "port": 1}),
    ):
        with pytest.raises(UniqueConflict) as error:
            async with store.write() as tx:
                await writing(tx)
        assert (error.value.table, error.value.columns) == ("services", {"name": "taken"})


async def test_a_conflict_over_several_columns_names_them_all(store: Store) -> None:
    parent = await insert(store, "upstreams", upstream())
    await insert(store, "targets", target(parent["id"], target="a.test:80"))
    other = await insert(store, "targets", target(parent["id"], target="b.test:80"))
    for writing in (
        lambda tx: tx.insert("targets", target(parent["id"], target="a.test:80")),
        lambda tx: tx.update("targets", other["id"], {"target": "a.test:80"}),
    ):
        with pytest.raises(UniqueConflict) as error:
            async with store.write() as tx:
                await writing(tx)
        assert error.value.columns == {"upstream_id": parent["id"], "target": "a.test:80"}


async def test_a_missing_parent_is_named(store: Store) -> None:
    child = await insert(store, "routes", route())
    absent = uuid4()
    for writing in (
        lambda tx: tx.insert("routes", route(absent)),
        lambda tx: tx.update("routes", child["id"], {"service_id": absent}),
    ):
        with pytest.raises(ForeignKeyMissing) as error:
            async with store.write() as tx:
                await writing(tx)
        found = error.value
        assert (found.table, found.column, found.references, found.id) == (
            "routes",
            "service_id",
            "services",
            absent,
        )


async def test_a_parent_in_use_stays_unless_its_children_go_with_it(store: Store) -> None:
    parent = await insert(store, "services", service())
    await insert(store, "routes", route(parent["id"]))
    with pytest.raises(StillReferenced) as error:
        async with store.write() as tx:
            await tx.delete("services", parent["id"])
    assert (error.value.table, error.value.by_table) == ("services", "routes")

    pool = await insert(store, "upstreams", upstream())
    await insert(store, "targets", target(pool["id"]))
    async with store.write() as tx:
        assert await tx.delete("upstreams", pool["id"])
    async with store.read() as reading:
        assert (await reading.page("targets", size=1)).rows == []


# -- values that PostgreSQL cannot hold


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", "nul\x00"),
        ("name", "surrogate\ud800"),
        ("name", "".join(chr(0x4E00 + i * 7 % 20_000) for i in range(9_000))),
        ("tags", ["fine", "nul\x00"]),
        ("port", 2**63),
        ("port", 10**40),
    ],
)
async def test_an_unstorable_value_is_named(store: Store, column: str, value: object) -> None:
    with pytest.raises(UnstorableValue) as error:
        await insert(store, "services", service(**{column: value}))
    assert error.value.table == "services"
    too_long = isinstance(value, str) and len(value) > 100
    assert error.value.column == (None if too_long else column)


@pytest.mark.parametrize("text", ["nul\x00", "surrogate\ud800"])
async def test_an_unstorable_text_inside_json_is_named(store: Store, text: str) -> None:
    for headers in ({"x": [text]}, {text: ["x"]}):
        with pytest.raises(UnstorableValue) as error:
            await insert(store, "routes", route(headers=headers))
        assert error.value.column == "headers"


async def test_a_missing_column_is_named(store: Store) -> None:
    with pytest.raises(UnstorableValue) as error:
        await insert(store, "services", {"id": uuid4()})
    assert error.value.column == "host"


async def test_looking_for_an_unstorable_value_says_so_too(store: Store) -> None:
    async with store.read() as tx:
        with pytest.raises(UnstorableValue):
            await tx.get("services", "name", "nul\x00")


async def test_odd_values_written_by_hand_can_be_read(store: Store, database_url: str) -> None:
    depth = 3_000
    run_sql(
        database_url,
        f"""
        INSERT INTO services (name, host, created_at) VALUES ('late', 'a', 'infinity');
        INSERT INTO services (name, host, created_at) VALUES ('future', 'a', '20000-01-01');
        INSERT INTO routes (name, headers)
        VALUES ('deep', (repeat('[', {depth}) || repeat(']', {depth}))::jsonb);
        INSERT INTO routes (name, headers) VALUES ('long', ('1' || repeat('0', 9000))::jsonb);
        """,
    )
    async with store.read() as tx:
        odd = {row["name"]: row["created_at"] for row in (await tx.page("services", size=9)).rows}
        assert odd == {"late": "infinity", "future": "20000-01-01 00:00:00+00"}
        headers = {row["name"]: row["headers"] for row in (await tx.page("routes", size=9)).rows}
        assert isinstance(headers["long"], str)
        assert isinstance(headers["deep"], str | list)  # how deep is too deep varies with Python


# -- a database that is gone, slow, or not ours


async def test_a_database_that_cannot_be_reached_is_unavailable(settings: NodeSettings) -> None:
    nowhere = SecretStr("postgresql://postgres@127.0.0.1:1/gateway")
    async with started(settings.model_copy(update={"database_url": nowhere})) as store:
        for attempt in (attempt_read, attempt_write):
            with pytest.raises(StoreUnavailable):
                await attempt(store)


async def test_a_database_without_our_schema_says_what_to_do(
    settings: NodeSettings, empty_database_url: str
) -> None:
    empty = settings.model_copy(update={"database_url": SecretStr(empty_database_url)})
    async with started(empty) as store:
        for attempt in (attempt_read, attempt_write):
            with pytest.raises(StoreUnavailable, match="run `gateway db upgrade`"):
                await attempt(store)


async def test_a_missing_version_row_is_said(store: Store, database_url: str) -> None:
    run_sql(database_url, "DELETE FROM config_version")
    with pytest.raises(StoreUnavailable, match="config_version has no row"):
        await store.cluster()
    with pytest.raises(StoreUnavailable, match="config_version has no row"):
        await attempt_write(store)
    with pytest.raises(psycopg.errors.RaiseException, match="config_version has no row"):
        run_sql(database_url, "INSERT INTO services (host) VALUES ('by-hand')")


async def test_a_restarted_server_goes_unnoticed_between_transactions(
    store: Store, database_url: str
) -> None:
    await insert(store, "services", service())
    run_sql(
        database_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    await insert(store, "services", service())


async def test_a_write_waits_for_the_other_only_so_long(settings: NodeSettings) -> None:
    impatient = settings.model_copy(update={"database_lock_timeout_s": 0.1})
    async with started(settings) as patient_store, started(impatient) as store:
        async with patient_store.write() as tx:
            await tx.insert("services", service())
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                await attempt_write(store)
        await attempt_write(store)


async def test_a_full_pool_is_unavailable(settings: NodeSettings) -> None:
    small = {"database_pool_size": 1, "database_connect_timeout_s": 0.1}
    async with started(settings.model_copy(update=small)) as store, store.read():
        with pytest.raises(StoreUnavailable):
            await attempt_read(store)


async def test_a_stalled_database_is_given_up_after_the_deadline(
    settings: NodeSettings, postgres: EmbeddedPostgres
) -> None:
    async with FaultProxy.before(postgres) as proxy:
        through_proxy = {
            "database_url": SecretStr(proxy.url(settings.database_url.get_secret_value())),
            "database_statement_timeout_s": 0.1,
            "database_connect_timeout_s": 2.0,
        }
        async with started(settings.model_copy(update=through_proxy)) as store:
            await attempt_write(store)
            proxy.stall()
            with pytest.raises(StoreUnavailable, match="no answer within"):
                await attempt_read(store)
            proxy.heal()
            await attempt_write(store)


async def test_cancelling_a_caller_of_a_stalled_database_ends_at_once(
    settings: NodeSettings, postgres: EmbeddedPostgres
) -> None:
    async with FaultProxy.before(postgres) as proxy:
        url = SecretStr(proxy.url(settings.database_url.get_secret_value()))
        async with started(settings.model_copy(update={"database_url": url})) as store:
            await attempt_read(store)
            proxy.stall()
            reading = asyncio.create_task(attempt_read(store))
            await proxy.has_stalled()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading


# -- nodes


def heartbeat(**facts: Any) -> Heartbeat:
    beat: dict[str, Any] = {
        "id": uuid4(),
        "name": "node",
        "proxy_address": "127.0.0.1:8000",
        "admin_address": "127.0.0.1:8001",
        "status_address": "127.0.0.1:8100",
        "started_at": datetime.now(UTC),
        "applied_version": None,
        "applied_committed_at": None,
        "strategy": "poll",
        "software_version": "1.2.3",
        "role": "traditional",
    }
    return Heartbeat(**beat | facts)


async def test_the_cluster_shows_what_nodes_report(store: Store) -> None:
    first, second = heartbeat(name="a"), heartbeat(name="b")
    for beat in (second, first, heartbeat(id=second.id, name="b", applied_version=7)):
        await store.heartbeat(beat)
    view = await store.cluster()
    assert [(n.name, n.applied_version) for n in view.nodes] == [("a", None), ("b", 7)]
    assert view.nodes[0].started_at == first.started_at
    assert all(n.age_s >= 0 and n.last_seen_at <= view.now for n in view.nodes)


async def test_a_cluster_without_nodes_still_has_a_version(store: Store) -> None:
    view = await store.cluster()
    assert (view.version, view.nodes) == (0, [])


async def test_a_node_that_stops_is_forgotten_and_a_silent_one_after_an_hour(
    store: Store, settings: NodeSettings, database_url: str
) -> None:
    stopped, silent, quiet = heartbeat(), heartbeat(), heartbeat()
    for beat in (stopped, silent, quiet):
        await store.heartbeat(beat)
    await store.forget(stopped.id)
    for beat, age in ((silent, timedelta(minutes=61)), (quiet, timedelta(minutes=59))):
        run_sql(
            database_url,
            f"UPDATE nodes SET last_seen_at = last_seen_at - interval '{age}' "
            f"WHERE id = '{beat.id}'",
        )
    async with started(settings) as other:
        await other.heartbeat(heartbeat(name="another"))
        await other.tidy()
        names = {node.id for node in (await other.cluster()).nodes}
    assert quiet.id in names
    assert not names & {stopped.id, silent.id}


async def test_a_node_that_joins_takes_the_place_of_one_that_was_killed(store: Store) -> None:
    killed, neighbour = heartbeat(name="a"), heartbeat(name="b")
    for beat in (killed, neighbour):
        await store.join(beat)
    successor = heartbeat(name="a")
    await store.join(successor)
    assert [node.id for node in (await store.cluster()).nodes] == [successor.id, neighbour.id]


@asynccontextmanager
async def started(settings: NodeSettings) -> AsyncIterator[Store]:
    store = Store(settings)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def attempt_read(store: Store) -> None:
    async with store.read() as tx:
        await tx.page("services", size=1)


async def attempt_write(store: Store) -> None:
    async with store.write() as tx:
        await tx.insert("services", service())


# -- stopping


class User:
    """Somebody who has a connection of a store, until told to go."""

    def __init__(self, store: Store) -> None:
        self.has_it, self.may_go = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._use(store))

    async def _use(self, store: Store) -> None:
        async with store.read() as transaction:
            await transaction.page("services", size=1)
            self.has_it.set()
            await self.may_go.wait()


async def test_a_stop_waits_for_who_has_a_connection(settings: NodeSettings) -> None:
    store = Store(settings)
    await store.start()
    user = User(store)
    await user.has_it.wait()
    stopping = asyncio.create_task(store.stop())
    done, _ = await asyncio.wait({stopping}, timeout=0.05)
    assert not done
    user.may_go.set()
    await stopping
    assert user.task.done()


async def test_a_stop_does_not_wait_for_ever_and_leaves_no_connection(
    settings: NodeSettings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "RETURN_S", 0.01)
    store = Store(settings)
    await store.start()
    user = User(store)
    await user.has_it.wait()
    await store.stop()
    user.may_go.set()
    await user.task
    with psycopg.connect(database_url) as connection:
        others = connection.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        ).fetchone()
    assert others == (0,)

"""Migrations: the schema they make is the one the code expects, whoever runs them and how often."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from alembic import command
from gateway.store import migrate
from gateway.store.migrate import MigrationError, SchemaState
from gateway.store.tables import metadata


def run_sql(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


def tables(url: str) -> set[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute(f"{query} AND relkind = 'r'")}


def functions(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_the_migrated_schema_is_the_one_the_code_expects(database_url: str) -> None:
    options = {
        "version_table": migrate.VERSION_TABLE,
        "compare_type": True,
        "compare_server_default": True,
    }
    with migrate.connection_to(database_url) as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_an_empty_database_becomes_up_to_date_and_stays_so(empty_database_url: str) -> None:
    assert migrate.check(empty_database_url).state is SchemaState.EMPTY
    assert migrate.current(empty_database_url) is None
    first = migrate.upgrade(empty_database_url)
    assert first.state is SchemaState.UP_TO_DATE
    assert migrate.upgrade(empty_database_url) == first
    assert migrate.current(empty_database_url) == first.head


def test_many_nodes_may_upgrade_at_once(empty_database_url: str) -> None:
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=spawned) as processes:
        checks = list(processes.map(migrate.upgrade, [empty_database_url] * 4))
    assert {check.state for check in checks} == {SchemaState.UP_TO_DATE}


def test_a_newer_schema_is_left_alone(database_url: str) -> None:
    run_sql(database_url, f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")
    assert migrate.check(database_url).state is SchemaState.UNKNOWN
    with pytest.raises(MigrationError, match=r"9999, which this software .* does not know"):
        migrate.upgrade(database_url)


def test_a_database_of_something_else_is_left_alone(empty_database_url: str) -> None:
    run_sql(empty_database_url, "CREATE TABLE orders (id int)")
    assert migrate.check(empty_database_url).state is SchemaState.FOREIGN
    with pytest.raises(MigrationError, match="tables that are not ours"):
        migrate.upgrade(empty_database_url)
    assert tables(empty_database_url) == {"orders"}


def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    run_sql(
        empty_database_url,
        "CREATE FUNCTION gateway_lock_version() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    with pytest.raises(MigrationError, match="gateway_lock_version"):
        migrate.upgrade(empty_database_url)
    assert tables(empty_database_url) == set()


def test_going_back_to_nothing_leaves_nothing(database_url: str) -> None:
    with migrate.connection_to(database_url) as connection, connection.begin():
        command.downgrade(migrate._config(connection), "base")
    assert tables(database_url) == {migrate.VERSION_TABLE}
    assert functions(database_url) == 0
    assert migrate.check(database_url).state is SchemaState.EMPTY
    assert migrate.upgrade(database_url).state is SchemaState.UP_TO_DATE


def test_client_certificates_that_were_never_there_become_null(empty_database_url: str) -> None:
    """Before there were certificates, only SQL by hand could name one."""
    url = empty_database_url
    with migrate.connection_to(url) as connection, connection.begin():
        command.upgrade(migrate._config(connection), "0002")
    run_sql(url, "INSERT INTO services (host) VALUES ('plain')")
    dangling = "(host, client_certificate_id) VALUES ('tls', gen_random_uuid())"
    run_sql(url, f"INSERT INTO services {dangling}")
    run_sql(url, f"INSERT INTO upstreams {dangling.replace('host', 'name')}")
    assert migrate.upgrade(url).state is SchemaState.UP_TO_DATE
    with psycopg.connect(url) as connection:
        for table in ("services", "upstreams"):
            query = f"SELECT count(*) FROM {table} WHERE client_certificate_id IS NOT NULL"
            assert connection.execute(query).fetchone() == (0,)
        logged = connection.execute("SELECT kind, operation FROM changes WHERE version = 4")
        assert sorted(logged) == [("services", "update"), ("upstreams", "update")]
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute(f"INSERT INTO services {dangling}")


def test_a_database_without_certificates_gets_no_new_version(empty_database_url: str) -> None:
    with migrate.connection_to(empty_database_url) as connection, connection.begin():
        command.upgrade(migrate._config(connection), "0002")
    run_sql(empty_database_url, "INSERT INTO services (host) VALUES ('plain')")
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT version FROM config_version").fetchone() == (1,)


def test_a_database_that_does_not_answer_is_one_line(database_url: str) -> None:
    absent = database_url.replace("/test_", "/absent_")
    with pytest.raises(MigrationError, match=r"database .* does not exist") as error:
        migrate.check(absent)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_spellings_of_the_scheme_are_taken(database_url: str, scheme: str) -> None:
    url = f"{scheme}:{database_url.partition(':')[2]}"
    assert migrate.check(url).state is SchemaState.UP_TO_DATE

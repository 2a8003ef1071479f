"""What many tests stand on: one PostgreSQL per run, and a migrated database of its own per test."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from gateway.settings import NodeSettings
from gateway.store import migrate
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.store import Store

from .postgres import temporary_postgres

sys.path.append(str(Path(__file__).parent / "plugins" / "installed"))
"""As a `site-packages` with plugins: entities can name them."""

TEMPLATE = "template_migrated"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server for the whole run; databases in it belong to single tests."""
    with temporary_postgres("tests") as server:
        yield server


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a database with nothing in it."""
    yield from _database(postgres, "template0")


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """Name of a database with our schema, to be cloned: cheaper than a migration per test."""
    with _administrator(postgres) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate.upgrade(postgres.url(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """URL of a database with our schema and no entities."""
    yield from _database(postgres, migrated_template)


@pytest.fixture
def settings(database_url: str) -> NodeSettings:
    """Settings of a node on that database, listening on free ports."""
    return NodeSettings(
        node_name="test",
        database_url=SecretStr(database_url),
        proxy_port=0,
        admin_port=0,
        status_port=0,
        snapshot_dir="",
    )


@pytest.fixture
async def store(settings: NodeSettings) -> AsyncIterator[Store]:
    """A started store on that database."""
    store = Store(settings)
    await store.start()
    yield store
    await store.stop()


def _database(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with _administrator(postgres) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield postgres.url(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _administrator(postgres: EmbeddedPostgres) -> psycopg.Connection:
    return psycopg.connect(postgres.url("postgres"), autocommit=True)

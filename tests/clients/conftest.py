"""A node as clients of the Admin API find it: a process of its own, without entities, and with a
plugin that somebody else has written."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from gateway.entities import ENTITIES
from gateway.store.embedded import EmbeddedPostgres
from tests.scenarios.nodes import NodeProcess, http_client

from .go import GoTests, compile_go_kong

THIRD_PARTY_PLUGINS = Path(__file__).parent / "third_party"
"""What a package with a plugin leaves in `site-packages`."""

DATABASE = "clients"


@pytest.fixture(scope="session")
def clients_database_url(postgres: EmbeddedPostgres, migrated_template: str) -> str:
    """URL of the database that these tests have in common."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {migrated_template}")
    return postgres.url(DATABASE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_node(clients_database_url: str) -> AsyncIterator[NodeProcess]:
    """A node on that database; in the end it must stop in good order."""
    async with http_client() as http:
        node = NodeProcess("node-1", http, database_url=clients_database_url)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PYTHONPATH", str(THIRD_PARTY_PLUGINS), prepend=os.pathsep)
                await node.start()
            yield node
            assert await node.stop() == 0
        finally:
            if node.is_running:
                await node.kill()


@pytest.fixture
def node(running_node: NodeProcess, clients_database_url: str) -> Iterator[NodeProcess]:
    """The node, with nothing configured; it may not have had an error that nobody foresaw."""
    before = running_node.stumbles()
    yield running_node
    with psycopg.connect(clients_database_url) as connection:
        for table in reversed(ENTITIES):
            connection.execute(f"DELETE FROM {table}")
    assert running_node.stumbles() == before


@pytest.fixture
def admin_url(node: NodeProcess) -> str:
    return f"http://{node.addresses['admin']}"


@pytest.fixture(scope="session")
def go_cache(pytestconfig: pytest.Config) -> Path:
    """Where the compiler keeps what it has compiled, from one run to the next."""
    assert pytestconfig.cache is not None
    return pytestconfig.cache.mkdir("go-build")


@pytest.fixture(scope="session")
def go_kong(tmp_path_factory: pytest.TempPathFactory, go_cache: Path) -> GoTests:
    return compile_go_kong(tmp_path_factory.mktemp("go-kong"), go_cache)

"""`gateway admin token`: the token alone on standard output, and where tokens are found."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.settings import NodeSettings
from gateway.store import migrate
from gateway.store.admin_tokens import AdminTokens, Role
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.store import Store
from tests.postgres import temporary_postgres
from tests.scenarios.nodes import NodeProcess, http_client

from .test_app import gateway


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {"GATEWAY_DATABASE_URL": database_url}


@pytest.fixture
def tokens(store: Store) -> AdminTokens:
    return AdminTokens(store)


async def test_a_token_is_printed_once_and_counts(
    environment: dict[str, str], tokens: AdminTokens
) -> None:
    made = gateway("admin", "token", "create", "ops", "--role", "read-only", **environment)
    assert made.returncode == 0
    assert re.fullmatch(r"gwt_\S{43}\n", made.stdout)
    assert "it is not shown again" in made.stderr
    token = made.stdout.strip()
    assert token not in made.stderr
    found = (await tokens.look_up(token)).token
    assert (found.name, found.role) == ("ops", Role.READ_ONLY)
    listed = gateway("admin", "token", "list", **environment)
    assert re.search(r"ops +read-only +counts +\d{4}-\d\d-\d\d \d\d:\d\d UTC +- +-", listed.stdout)
    assert token not in listed.stdout

    revoked = gateway("admin", "token", "revoke", "ops", **environment)
    assert (revoked.returncode, revoked.stdout, revoked.stderr) == (0, "", "ops is revoked\n")
    assert (await tokens.look_up(token)).token is None
    assert "revoked" in gateway("admin", "token", "list", **environment).stdout


async def test_a_token_may_end_by_itself(environment: dict[str, str], tokens: AdminTokens) -> None:
    for number, (time, hours) in enumerate({"90m": 1.5, "12h": 12, "30d": 720}.items()):
        create = ("admin", "token", "create", f"t{number}", "--role", "admin")
        assert gateway(*create, "--expires-in", time, **environment).returncode == 0
        row = (await tokens.all())[number]
        assert (row.expires_at - row.created_at).total_seconds() == hours * 3600


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["create", "a b", "--role", "admin"], "'a b' is no name of a token"),
        (["create", "x" * 65, "--role", "admin"], "up to 64 letters"),
        (["create", "", "--role", "admin"], "'' is no name of a token"),
        (["create", "x", "--role", "admin", "--expires-in", "30"], "--expires-in: '30' is no time"),
        (["create", "x", "--role", "admin", "--expires-in", "0d"], "--expires-in: '0d' is no time"),
        (["create", "x", "--role", "admin", "--expires-in", "3651d"], "more than 3650d"),
        (["create", "taken", "--role", "admin"], "gateway admin token revoke taken"),
        (["revoke", "nobody"], "there is no token named nobody that counts"),
    ],
)
async def test_what_cannot_be_is_said_in_one_line(
    environment: dict[str, str], tokens: AdminTokens, arguments: list[str], line: str
) -> None:
    await tokens.create("taken", Role.ADMIN, None)
    ran = await asyncio.to_thread(lambda: gateway("admin", "token", *arguments, **environment))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("gateway: ")
    assert ran.stderr.count("\n") == 1
    assert line in ran.stderr


def test_a_database_that_cannot_be_used_names_the_setting() -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/d"
    ran = gateway("admin", "token", "list", "--database-url", url)
    assert ran.returncode == 1
    assert ran.stderr.startswith("gateway: --database-url (GATEWAY_DATABASE_URL): ")
    assert "hunter2" not in ran.stderr


# -- without a URL: the database of `gateway up`


@pytest.fixture
def up() -> Iterator[EmbeddedPostgres]:
    """The PostgreSQL of a `gateway up`, which keeps it in `postgres` in its data directory."""
    with temporary_postgres("up") as server:
        assert server.directory.name == "postgres"
        migrate.upgrade(server.url())
        yield server


def test_the_database_of_gateway_up_is_found_in_its_data_directory(up: EmbeddedPostgres) -> None:
    directory = str(up.directory.parent)
    made = gateway("admin", "token", "create", "ops", "--role", "admin", "--data-dir", directory)
    assert made.stdout.startswith("gwt_")
    assert "ops" in gateway("admin", "token", "list", GATEWAY_DATA_DIR=directory).stdout


def test_without_any_database_both_ways_are_named(tmp_path: Path) -> None:
    ran = gateway("admin", "token", "list", "--data-dir", str(tmp_path))
    assert ran.returncode == 1
    assert "--database-url (GATEWAY_DATABASE_URL) is required" in ran.stderr
    assert "--data-dir (GATEWAY_DATA_DIR)" in ran.stderr


# -- commands that need a token


@pytest.fixture
async def node(settings: NodeSettings) -> AsyncIterator[NodeProcess]:
    async with http_client() as http:
        url = settings.database_url.get_secret_value()
        node = await NodeProcess("node-1", http, database_url=url).start()
        yield node
        assert await node.stop() == 0


async def test_cluster_status_comes_in_with_a_token(node: NodeProcess, tokens: AdminTokens) -> None:
    url = f"http://{node.addresses['admin']}"

    async def status(**environment: str) -> tuple[int, str]:
        ran = await asyncio.to_thread(
            lambda: gateway("cluster", "status", "--admin-url", url, **environment)
        )
        return ran.returncode, ran.stdout + ran.stderr

    assert (await status())[0] == 0
    token = await tokens.create("ops", Role.READ_ONLY, None)
    code, said = await status()
    assert code == 1
    assert "asks for a token: give one (--token, GATEWAY_ADMIN_TOKEN)" in said
    assert "this one does not count" in (await status(GATEWAY_ADMIN_TOKEN="wrong"))[1]
    code, said = await status(GATEWAY_ADMIN_TOKEN=token)
    assert code == 0
    assert "node-1" in said

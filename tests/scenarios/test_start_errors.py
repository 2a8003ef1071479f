"""A node that cannot start says why, in one line, with the next step and without the password."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from gateway.lab.fault_proxy import FaultProxy
from gateway.settings import NodeSettings, SettingError, read_settings
from gateway.store.embedded import EmbeddedPostgres

from .conftest import StartNodes
from .nodes import NodeProcess, http_client
from .sql import run_sql

PASSWORD = "hunter2"


async def refusal(**settings: object) -> str:
    """Return the one line that a node says before it ends with an error."""
    async with http_client() as http:
        node = await NodeProcess("node", http, **settings).begin()
        try:
            code = await node.ends()
        finally:
            if node.is_running:
                await node.kill()
    assert code in (1, 2)
    # Whether few files may be open is the machine's affair.
    assert [line for line in node.log if line["logger"] != "gateway.open_files"] == []
    (line,) = node.noise
    assert line.startswith("gateway")
    assert PASSWORD not in line
    return line


async def test_a_taken_port(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listeners = ("proxy", "admin", "status")
        lines = await asyncio.gather(
            *(refusal(**{"database_url": database_url, f"{name}_port": port}) for name in listeners)
        )
    for name, line in zip(listeners, lines, strict=True):
        assert f"port {port} of the {name} listener is taken on 127.0.0.1" in line
        assert f"--{name}-port" in line


async def test_an_unreachable_database() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        line = await refusal(database_url=f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/gateway")
    assert "Connection refused" in line
    assert f"port {port}" in line


async def test_a_database_that_does_not_exist(postgres: EmbeddedPostgres) -> None:
    assert 'database "nowhere" does not exist' in await refusal(
        database_url=postgres.url("nowhere")
    )


@pytest.fixture
def url_with_a_password(postgres: EmbeddedPostgres, database_url: str) -> Iterator[str]:
    """URL of a user who, other than the rest, has to give the right password."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        (path,) = connection.execute("SHOW hba_file").fetchone()
        hba_file, before = Path(path), Path(path).read_text()
        hba_file.write_text("local all locked scram-sha-256\n" + before)
        connection.execute("SELECT pg_reload_conf()")
        yield database_url
        hba_file.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP ROLE locked")


async def test_a_wrong_password(postgres: EmbeddedPostgres, url_with_a_password: str) -> None:
    async with FaultProxy.before(postgres) as network:
        url = network.url(url_with_a_password).replace("postgres@", f"locked:{PASSWORD}@")
        line = await refusal(database_url=url)
    assert 'password authentication failed for user "locked"' in line


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://me:{PASSWORD}@127.0.0.1/gateway",
        f"postgresql://me:{PASSWORD}@127.0.0.1:not-a-port/gateway",
        f"postgresql://me:x@{PASSWORD}@127.0.0.1:1/gateway",
        f"postgresql://me:x/{PASSWORD}@127.0.0.1:1/gateway",
        f"postgresql://me:x%zz{PASSWORD}@127.0.0.1:1/gateway",
        f"postgresql://me@127.0.0.1:1/gateway?password={PASSWORD}&nonsense=1",
        f"postgresql://me:{PASSWORD}@[127.0.0.1:1/gateway",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingError, match=r"--database-url \(GATEWAY_DATABASE_URL\)") as refused:
        read_settings(NodeSettings, database_url=url)
    assert PASSWORD not in str(refused.value)


async def test_settings_that_cannot_be() -> None:
    missing, unreadable, too_short = await asyncio.gather(
        refusal(),
        refusal(database_url=f"mysql://me:{PASSWORD}@127.0.0.1/gateway"),
        refusal(database_url="postgresql://127.0.0.1/gateway", poll_interval_s=0),
    )
    assert "--database-url (GATEWAY_DATABASE_URL) is required" in missing
    assert "must look like postgresql://user:password@host:port/database" in unreadable
    assert "--poll-interval (GATEWAY_POLL_INTERVAL_S)" in too_short


async def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    nowhere, page = tmp_path / "nowhere" / "access.log", tmp_path / "page.html"
    page.write_text("<p>%s</p>")
    unused = {"database_url": "postgresql://127.0.0.1:1/gateway"}
    log, template = await asyncio.gather(
        refusal(access_log="text", access_log_path=nowhere, **unused),
        refusal(error_template_html=page, **unused),
    )
    assert f"--access-log-path (GATEWAY_ACCESS_LOG_PATH): {nowhere}: No such file" in log
    assert f"--error-template-html (GATEWAY_ERROR_TEMPLATE_HTML): {page} must have %s" in template


async def test_an_empty_database(empty_database_url: str) -> None:
    line = await refusal(database_url=empty_database_url)
    assert "the database is empty: run `gateway db upgrade`" in line


async def test_a_database_of_somebody_else(empty_database_url: str) -> None:
    await run_sql(empty_database_url, "CREATE TABLE theirs (id int)")
    line = await refusal(database_url=empty_database_url)
    assert "tables that are not ours: use an empty database" in line


async def test_a_schema_of_a_newer_release(database_url: str) -> None:
    await run_sql(database_url, "UPDATE gateway_schema SET version_num = '9999'")
    line = await refusal(database_url=database_url)
    assert "the schema is 9999" in line
    assert "made by a newer release" in line


async def test_a_database_that_has_lost_its_version(database_url: str) -> None:
    await run_sql(database_url, "DELETE FROM config_version")
    assert "config_version has no row" in await refusal(database_url=database_url)


async def test_an_unknown_strategy(database_url: str) -> None:
    line = await refusal(database_url=database_url, strategy="gossip")
    assert "there is no sync strategy 'gossip'" in line
    assert "notify" in line


@pytest.fixture
async def network(postgres: EmbeddedPostgres) -> AsyncIterator[FaultProxy]:
    async with FaultProxy.before(postgres) as network:
        yield network


async def test_a_running_node_never_tells_the_password(
    start_nodes: StartNodes, network: FaultProxy, database_url: str
) -> None:
    url = network.url(database_url).replace("postgres@", f"postgres:{PASSWORD}@")
    assert urlsplit(url).password == PASSWORD
    (node,) = await start_nodes(1, database_url=url, log_level="debug", poll_interval_s=0.1)
    told = [await node.admin("GET", path) for path in ("/", "/status", "/cluster", "/endpoints")]
    network.cut()
    await node.becomes("database unavailable")
    told += [await node.admin("GET", path) for path in ("/services", "/cluster", "/status")]
    network.heal()
    await node.becomes("synced")
    assert await node.stop() == 0
    assert PASSWORD not in "".join([*map(str, node.log), *(answer.text for answer in told)])
    assert re.search(r'"database_url": ?"\*+"', told[0].text)

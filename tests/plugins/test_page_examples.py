"""The examples of the pages do what they say, with the real curl; `examples.py` has the rule."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
import uvicorn

from gateway import demo
from gateway.entities import ENTITIES
from gateway.settings import NodeSettings
from gateway.store.embedded import EmbeddedPostgres
from gateway.up.seed import seed_demo
from tests.scenarios.nodes import DEADLINE_S, NodeProcess, http_client

from .examples import Command, Outcome, check, commands_of

CURL = shutil.which("curl")

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(CURL is None and "CI" not in os.environ, reason="curl is not installed"),
]

DOCS = Path(__file__).parents[2] / "docs"
PLUGINS = sorted(path for path in DOCS.glob("plugins/*.md") if path.stem != "README")

BALANCING = DOCS / "balancing.md"
WRITING = DOCS / "writing-plugins.md"

DATABASE = "page_examples"

CURL_HERE = """\
curl() { command curl --disable -sS --noproxy '*' --dump-header "$answer.head" "$@"; }
"""


# -- the cluster


@dataclass(frozen=True)
class Cluster:
    """What runs as `make up` has it; ``addresses`` has its own for the usual ones."""

    addresses: Mapping[str, str]
    database_url: str

    def here(self, command: str) -> str:
        """Return a command with the addresses that this cluster has."""
        return re.sub(r"127\.0\.0\.1:\d+", lambda it: self.addresses.get(it[0], it[0]), command)

    def left(self) -> list[str]:
        """Delete what examples have left besides the demo; return its kinds."""
        with psycopg.connect(self.database_url) as connection:
            return [
                table
                for table in reversed(ENTITIES)
                if connection.execute(
                    f"DELETE FROM {table} WHERE NOT ('demo' = ANY (coalesce(tags, '{{}}')))"
                ).rowcount
            ]


@pytest.fixture(scope="session")
def examples_database_url(postgres: EmbeddedPostgres, migrated_template: str) -> str:
    """URL of the database that the examples have in common."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {migrated_template}")
    return postgres.url(DATABASE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(
    examples_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """Two nodes and the demo; in the end all must stop in good order."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_client())
        demo_port = await stack.enter_async_context(demo_upstream())
        settings = {
            "database_url": examples_database_url,
            "plugin_path": plugin_of_page(tmp_path_factory.mktemp("plugins")),
        }
        nodes = [NodeProcess(f"node-{k}", http, **settings) for k in (1, 2)]
        try:
            await asyncio.gather(*(node.start() for node in nodes))
            first = NodeSettings(admin_port=nodes[0].port("admin"))
            memory = tmp_path_factory.mktemp("demo")
            await seed_demo([first], demo_port, memory, http, print)
            yield Cluster(dict(addresses(nodes, demo_port)), examples_database_url)
            assert [await node.stop() for node in nodes] == [0, 0]
            assert [stumble for node in nodes for stumble in node.stumbles()] == []
        finally:
            await asyncio.gather(*(node.kill() for node in nodes if node.is_running))


def plugin_of_page(directory: Path) -> Path:
    """Write the plugin that the page on writing plugins begins with; return where it is."""
    written = re.search(
        r"`plugins/(\S+)`:\n\n```python\n(.*?)^```$", WRITING.read_text(), re.MULTILINE | re.DOTALL
    )
    assert written is not None
    (directory / written[1]).write_text(written[2])
    return directory


def addresses(nodes: list[NodeProcess], demo_port: int) -> Iterator[tuple[str, str]]:
    yield "127.0.0.1:9000", f"127.0.0.1:{demo_port}"
    for k, node in enumerate(nodes):
        for port, listener in ((8000, "proxy"), (8001, "admin"), (8100, "status")):
            yield f"127.0.0.1:{port + 10 * k}", node.addresses[listener]


@asynccontextmanager
async def demo_upstream() -> AsyncIterator[int]:
    """The upstream of the demo; yields its port."""
    server = uvicorn.Server(uvicorn.Config(demo.app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    yield running
    running.left()


# -- the examples


async def outcomes(typed: list[Command], cluster: Cluster, directory: Path) -> list[Outcome]:
    """Type commands one after the other; return what came of each."""
    script = CURL_HERE + "".join(
        f"answer={k}; {{ {cluster.here(command.typed)}\n}} >{k}.output 2>&1; echo $? >{k}.code\n"
        for k, command in enumerate(typed)
    )
    bash = await asyncio.create_subprocess_exec(
        *("bash", "-c", script), cwd=directory, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            said, _ = await bash.communicate()
    finally:
        if bash.returncode is None:
            bash.kill()
    assert said == b"", said.decode()
    return [outcome(directory, k) for k in range(len(typed))]


def outcome(directory: Path, k: int) -> Outcome:
    output = (directory / f"{k}.output").read_bytes().decode(errors="replace")
    heads = directory / f"{k}.head"
    return Outcome(
        code=int((directory / f"{k}.code").read_text()),
        output=output.replace("\r", ""),
        heads=heads.read_bytes().decode().replace("\r", "") if heads.exists() else "",
    )


async def run(page: Path, cluster: Cluster, directory: Path) -> None:
    typed = commands_of(page)
    assert typed, "there is no example"
    for command, came in zip(typed, await outcomes(typed, cluster, directory), strict=True):
        check(command, came)


@pytest.mark.parametrize("page", PLUGINS, ids=lambda page: page.stem)
async def test_page_of_a_plugin(page: Path, cluster: Cluster, tmp_path: Path) -> None:
    await run(page, cluster, tmp_path)
    assert cluster.left() == [], "the example leaves something behind"


async def test_page_on_balancing(cluster: Cluster, tmp_path: Path) -> None:
    await run(BALANCING, cluster, tmp_path)


async def test_page_on_writing_plugins(cluster: Cluster, tmp_path: Path) -> None:
    await run(WRITING, cluster, tmp_path)
    assert cluster.left() == [], "the example leaves something behind"

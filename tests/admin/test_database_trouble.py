"""A database that is read-only, locked, frozen or asked for the same by all: 503 or 409, and whole.

What is stopped and started again is told of in test_app and in tests/scenarios.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from gateway.settings import NodeSettings
from gateway.store.store import Store

from .conftest import StandingNode, client_of, created, ids

Client = httpx.AsyncClient

WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/services", {"name": "new", "host": "b"}),
    ("PUT", "/services/new", {"host": "b"}),
    ("PUT", "/services/there", {"host": "b"}),
    ("PATCH", "/services/there", {"host": "b"}),
    ("DELETE", "/services/there", None),
    ("POST", "/services/there/routes", {"paths": ["/"]}),
]


@pytest.fixture
def impatient(database_url: str) -> NodeSettings:
    """Settings of a node that waits for nothing for long."""
    return NodeSettings(
        database_url=database_url,
        database_lock_timeout_s=0.2,
        database_statement_timeout_s=1,
        database_pool_size=2,
    )


@asynccontextmanager
async def api(settings: NodeSettings) -> AsyncIterator[Client]:
    store = Store(settings)
    await store.start()
    try:
        async with client_of(store, StandingNode(settings)) as client:
            yield client
    finally:
        await store.stop()


def check_unavailable(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    assert int(response.headers["Retry-After"]) > 0
    assert "database" in response.json()["message"]


async def check_that_writes_are_refused(client: Client) -> None:
    for method, path, body in WRITES:
        check_unavailable(await client.request(method, path, json=body))


async def check_as_before(client: Client) -> None:
    """Nothing that was refused has left anything, and writes work."""
    (service,) = (await client.get("/services")).json()["data"]
    assert (service["name"], service["host"]) == ("there", "a")
    assert await ids(client, "/routes") == []
    await created(client, "/services", name="new", host="b")


async def test_a_read_only_database_is_read(client: Client, database_url: str):
    await created(client, "/services", name="there", host="a")
    read_only = f"{database_url}&options=-c%20default_transaction_read_only%3Don"
    async with api(NodeSettings(database_url=read_only)) as reader:
        await check_that_writes_are_refused(reader)
        assert (await reader.get("/services/there")).json()["host"] == "a"
    await check_as_before(client)


@pytest.mark.parametrize("table", ["config_version", "services"])
async def test_a_lock_that_is_not_let_go_is_not_waited_for(
    impatient: NodeSettings, database_url: str, table: str
):
    async with api(impatient) as client:
        await created(client, "/services", name="there", host="a")
        async with await psycopg.AsyncConnection.connect(database_url) as holder:
            await holder.execute(f"LOCK {table} IN ACCESS EXCLUSIVE MODE")
            await check_that_writes_are_refused(client)
            await holder.rollback()
        await check_as_before(client)


async def test_frozen_backends_are_given_up(impatient: NodeSettings, database_url: str):
    async with api(impatient) as client:
        await created(client, "/services", name="there", host="a")
        with frozen(await backends(database_url)):
            check_unavailable(await client.patch("/services/there", json={"host": "b"}))
            # The next ones find new connections.
            assert (await client.get("/services/there")).json()["host"] == "a"
            await created(client, "/upstreams", name="meanwhile")
        await check_as_before(client)


async def test_who_finds_all_connections_in_use_is_told_to_come_back(database_url: str):
    settings = NodeSettings(
        database_url=database_url, database_pool_size=2, database_connect_timeout_s=1
    )
    async with api(settings) as client:
        await created(client, "/services", name="there", host="a")
        async with await psycopg.AsyncConnection.connect(database_url) as holder:
            await holder.execute("SELECT FROM config_version FOR UPDATE")
            async with asyncio.TaskGroup() as group:
                waiting = [
                    group.create_task(client.patch("/services/there", json={"host": "a"}))
                    for _ in range(settings.database_pool_size)
                ]
                await until_waiting(database_url, len(waiting))
                check_unavailable(await client.get("/services/there"))
                await holder.rollback()
        assert [task.result().status_code for task in waiting] == [200, 200]
        await check_as_before(client)


async def test_of_those_who_want_one_name_one_gets_it(client: Client):
    bodies = [{"name": "one", "host": f"h{number}"} for number in range(10)]
    responses = await asyncio.gather(*(client.post("/services", json=body) for body in bodies))
    assert Counter(response.status_code for response in responses) == {201: 1, 409: 9}
    assert len(await ids(client, "/services")) == 1


async def test_of_those_who_put_one_name_one_creates_and_all_replace(client: Client):
    bodies = [{"host": f"h{number}"} for number in range(10)]
    responses = await asyncio.gather(*(client.put("/services/one", json=body) for body in bodies))
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["id"] for response in responses}) == 1
    newest = max(responses, key=lambda response: int(response.headers["X-Gateway-Config-Version"]))
    assert (await client.get("/services/one")).json() == newest.json()


async def test_two_who_write_in_opposite_order_do_not_block_each_other(client: Client):
    """Each write locks the version first, whatever rows it changes after."""
    upstream = await created(client, "/upstreams", name="pool")
    await created(client, "/services", name="a", host="a")
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/services/a/routes", {"paths": ["/"]}),
        ("PATCH", "/services/a", {"retries": 1}),
        ("PUT", f"/upstreams/{upstream['id']}", {"name": "pool"}),
        ("POST", "/upstreams/pool/targets", {"target": "a:1"}),
        ("DELETE", "/upstreams/pool/targets/a:1", None),
    ]
    responses = await asyncio.gather(
        *(client.request(method, path, json=body) for method, path, body in 10 * requests)
    )
    assert {response.status_code for response in responses} <= {200, 201, 204, 404, 409}


# -- the database itself


async def backends(database_url: str) -> list[int]:
    """Return the processes that serve the connections to a database."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        found = await connection.execute(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in await found.fetchall()]


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def until_waiting(database_url: str, number: int) -> None:
    """Return when so many wait for a lock."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        while True:
            found = await connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if await found.fetchone() == (number,):
                return
            await asyncio.sleep(0.01)

"""The Admin API as a whole: many writers at once, a lost database, hostile input."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from gateway.entities import ENTITIES
from gateway.settings import NodeSettings
from gateway.store import migrate
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.store import Store

from .conftest import StandingNode, client_of, created

Client = httpx.AsyncClient


async def test_of_many_who_want_a_name_one_gets_it(client: Client):
    responses = await asyncio.gather(
        *(client.post("/services", json={"name": "orders", "host": f"h{i}"}) for i in range(10))
    )
    assert sorted(response.status_code for response in responses) == [201] + [409] * 9


async def test_of_many_who_put_a_name_each_is_served_and_one_entity_stays(client: Client):
    responses = await asyncio.gather(
        *(client.put("/services/orders", json={"host": f"h{i}"}) for i in range(10))
    )
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["id"] for response in responses}) == 1
    versions = [int(response.headers["X-Gateway-Config-Version"]) for response in responses]
    assert len(set(versions)) == 10
    last = max(responses, key=lambda response: int(response.headers["X-Gateway-Config-Version"]))
    assert (await client.get("/services/orders")).json() == last.json()


async def test_a_parent_and_a_child_never_miss_each_other(client: Client):
    await created(client, "/services", name="orders", host="a")
    posted, deleted = await asyncio.gather(
        client.post("/services/orders/routes", json={"paths": ["/"]}),
        client.delete("/services/orders"),
    )
    assert (posted.status_code, deleted.status_code) in [(201, 400), (400, 204), (404, 204)]


async def test_every_path_keeps_the_rules_of_methods(client: Client):
    patterns = (await client.get("/endpoints")).json()["data"]
    for pattern in patterns:
        path = re.sub(r"\{\w+\}", "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f", pattern)
        options = await client.options(f"{path}/" if path != "/" else path)
        assert options.status_code == 204, path
        methods = options.headers["Allow"].split(", ")
        assert methods == sorted(methods)
        assert ("HEAD" in methods) == ("GET" in methods)
        for method in {"DELETE", "GET", "PATCH", "POST", "PUT"}.difference(methods):
            refused = await client.request(method, path)
            assert (refused.status_code, refused.json()) == (405, METHOD_NOT_ALLOWED), path
        for method in ("PATCH", "POST", "PUT"):
            unread = await client.request(method, path, content="a", headers={"Content-Type": "a"})
            assert unread.status_code == 415, (method, path)


METHOD_NOT_ALLOWED = {"message": "Method not allowed"}


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that the test may stop."""
    directory = Path(tempfile.mkdtemp(prefix="gateway-tests-"))
    server = EmbeddedPostgres(directory / "postgres", durable=False)
    try:
        server.start()
        migrate.upgrade(server.url())
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def test_an_outage_of_the_database_is_told_and_survived(own_postgres: EmbeddedPostgres):
    settings = NodeSettings(database_url=own_postgres.url())
    store = Store(settings)
    await store.start()
    async with client_of(store, StandingNode(settings)) as client:
        await created(client, "/services", name="before", host="a")
        await asyncio.to_thread(own_postgres.stop)
        for response in (
            await client.get("/services"),
            await client.post("/services", json={"host": "a"}),
            await client.put("/services/before", json={"host": "b"}),
            await client.patch("/services/before", json={"host": "b"}),
            await client.delete("/services/before"),
            await client.get("/tags"),
            await client.get("/consumers?custom_id=a"),
            await client.get("/cluster"),
        ):
            assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
            assert response.json()["message"].startswith("the database is unavailable: ")
        status = await client.get("/status")
        assert (status.status_code, status.json()["database"]) == (200, {"reachable": False})
        root = await client.get("/")
        assert (root.status_code, root.json()["plugins"]["enabled_in_cluster"]) == (200, None)

        await asyncio.to_thread(own_postgres.start)
        assert (await client.get("/services/before")).json()["host"] == "a"
        assert len((await client.get("/services")).json()["data"]) == 1
        await created(client, "/services", host="c")
    await store.stop()


async def test_a_write_cut_off_from_its_database_leaves_nothing_behind(
    client: Client, database_url: str
):
    await created(client, "/services", name="before", host="a")
    async with await psycopg.AsyncConnection.connect(database_url) as lock:
        await lock.execute("SELECT * FROM config_version FOR UPDATE")
        write = asyncio.create_task(client.post("/services", json={"name": "cut", "host": "a"}))
        await _until_somebody_waits(database_url)
        await _end_other_connections(database_url, lock.info.backend_pid)
        response = await write
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert (await client.get("/services/cut")).status_code == 404
    assert (await client.get("/services/before")).status_code == 200


async def _until_somebody_waits(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        while True:
            cursor = await connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if (await cursor.fetchone()) != (0,):
                return
            await asyncio.sleep(0.01)


async def _end_other_connections(database_url: str, but: int) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid NOT IN (%s, pg_backend_pid())",
            [but],
        )


HOSTILE = [
    "quota",
    "",
    "\x00",
    "\ud800",
    "%",
    "~/(",
    "/",
    "//",
    "*",
    "::1",
    "é",
    "'; DROP TABLE",
    "🦊",
]
TEXTS = st.sampled_from(HOSTILE) | st.text(st.characters(codec=None), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3),
    max_leaves=5,
)
FIELDS = sorted({name for entity_type in ENTITIES.values() for name in entity_type.fields})
BODIES = st.dictionaries(st.sampled_from([*FIELDS, "url"]) | TEXTS, VALUES, max_size=5)
PATHS = st.sampled_from(
    [
        "/services",
        "/services/a",
        "/services/%00",
        "/services/%F0%9F%A6%8A",
        "/services/a/routes",
        "/services/a/routes/r",
        "/routes",
        "/routes/r",
        "/routes/r/service",
        "/upstreams",
        "/upstreams/u",
        "/upstreams/u/targets",
        "/upstreams/u/targets/a:8000",
        "/upstreams/u/targets/%00",
        "/consumers",
        "/consumers/c",
        "/consumers/c/key-auth",
        "/consumers/c/key-auth/k",
        "/consumers/c/basic-auth/b",
        "/consumers/c/jwt",
        "/consumers/c/acls",
        "/consumers/c/acls/%00",
        "/acls",
        "/plugins",
        "/plugins/p",
        "/services/a/plugins",
        "/plugins/p/service",
        "/tags",
        "/tags/t",
        "/status",
    ]
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])
QUERIES = st.dictionaries(
    st.sampled_from(["size", "offset", "tags", "custom_id", "unit", "scale"]),
    st.text(st.characters(codec="utf-8"), max_size=9),
)
REQUESTS = st.lists(
    st.tuples(METHODS, PATHS, BODIES, QUERIES, st.booleans()), min_size=20, max_size=20
)


@hypothesis.settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(requests=REQUESTS)
def test_no_input_is_a_server_error(
    settings: NodeSettings, node: StandingNode, requests: list[tuple[Any, ...]]
):
    asyncio.run(_send_all(settings, node, requests))


async def _send_all(
    settings: NodeSettings, node: StandingNode, requests: list[tuple[Any, ...]]
) -> None:
    store = Store(settings)
    await store.start()
    try:
        async with client_of(store, node) as client:
            await client.put("/services/a", json={"host": "a"})
            await client.put("/routes/r", json={"paths": ["/"]})
            await client.put("/upstreams/u", json={})
            await client.put("/consumers/c", json={})
            await client.put("/plugins/p", json={"name": "quota", "config": {"unit": "request"}})
            for method, path, body, query, as_form in requests:
                content, headers = _encoded(body, as_form)
                response = await client.request(
                    method, path, params=query, content=content, headers=headers
                )
                assert response.status_code < 500, (method, path, body, query, response.text)
                if response.status_code >= 400:
                    assert response.json()["message"]
    finally:
        await store.stop()


def _encoded(body: dict[str, Any], as_form: bool) -> tuple[bytes, dict[str, str]]:
    if as_form:
        pairs = "&".join(f"{name}={value}" for name, value in body.items())
        form = pairs.encode(errors="surrogatepass")
        return form, {"Content-Type": "application/x-www-form-urlencoded"}
    return json.dumps(body).encode(), {"Content-Type": "application/json"}

"""Everybody writes at once, through every node and by hand: all nodes end up as the tables are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .sql import check_that_the_log_is_whole, newest_version, rows, run_sql
from .upstream import Upstream

WRITERS_PER_NODE = 2
WRITES = 40
SERVICES = 4
ROUTES = 12
POOL = "localhost"
"""An upstream entity of this name takes the place of what the name resolves to."""

REFUSALS = (400, 404, 409)
"""What a write may be told when somebody else was faster; never an error of the server."""


class Writer:
    """Changes, at random, what all others change too."""

    def __init__(self, node: NodeProcess, seed: str, upstream: Upstream) -> None:
        self._node = node
        self._dice = random.Random(seed)
        self._upstream = upstream
        self.versions: list[int] = []

    async def write(self) -> None:
        for _ in range(WRITES):
            step = self._dice.choice(self._steps())
            response = await self._node.admin(*step())
            assert response.is_success or response.status_code in REFUSALS, response.text
            if response.is_success:
                self.versions.append(int(response.headers["X-Gateway-Config-Version"]))

    def _steps(self) -> list[Callable[[], tuple[Any, ...]]]:
        of_entities = [self._put_service, self._put_route, self._put_route, self._patch_route]
        return [*of_entities, self._put_pool, self._weigh_target, self._remove]

    def _put_service(self) -> tuple[Any, ...]:
        path = f"/{self._dice.randrange(1000)}"
        body = {"host": POOL, "port": self._upstream.port, "path": path}
        return self._request("PUT", f"/services/{self._service()}", body)

    def _put_route(self) -> tuple[Any, ...]:
        body = {"paths": [f"/{self._route()}"], "service": {"name": self._service()}}
        return self._request("PUT", f"/routes/{self._route()}", body)

    def _patch_route(self) -> tuple[Any, ...]:
        return self._request("PATCH", f"/routes/{self._route()}", {"name": self._route()})

    def _remove(self) -> tuple[Any, ...]:
        things = [f"/routes/{self._route()}", f"/services/{self._service()}", f"/upstreams/{POOL}"]
        return self._request("DELETE", self._dice.choice(things))

    def _put_pool(self) -> tuple[Any, ...]:
        return self._request("PUT", f"/upstreams/{POOL}", {})

    def _weigh_target(self) -> tuple[Any, ...]:
        body = {"target": f"127.0.0.1:{self._upstream.port}", "weight": self._dice.choice([0, 1])}
        return self._request("POST", f"/upstreams/{POOL}/targets", body)

    def _service(self) -> str:
        return f"s{self._dice.randrange(SERVICES)}"

    def _route(self) -> str:
        return f"r{self._dice.randrange(ROUTES):02}"

    def _request(self, method: str, path: str, body: Any = None) -> tuple[Any, ...]:
        return method, path, body


BY_HAND = [
    "UPDATE services SET path = '/by-hand'",
    "DELETE FROM routes WHERE id IN (SELECT id FROM routes LIMIT 2)",
    "DELETE FROM upstreams",
    "UPDATE routes SET paths = paths || '{/all}' WHERE name IN ('r00', 'r01')",
    "UPDATE routes SET id = gen_random_uuid() WHERE name = 'r02'",
    "UPDATE targets SET weight = 1",
    "WITH gone AS (DELETE FROM routes WHERE name = 'r03' RETURNING service_id) "
    "INSERT INTO routes (name, paths, service_id) SELECT 'r03', '{/r03}', service_id FROM gone",
]


async def write_by_hand(url: str, dice: random.Random) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for _ in range(WRITES):
            statements = "; ".join(dice.sample(BY_HAND, dice.randint(1, 3)))
            end = dice.choice(["COMMIT", "COMMIT", "ROLLBACK"])
            await connection.execute(f"BEGIN; {statements}; {end}")


async def watch(node: NodeProcess, done: asyncio.Event) -> list[int]:
    """Return the versions that a node says it serves, one after another."""
    applied = []
    while not done.is_set():
        sync = (await node.report())["sync"]
        assert sync["applied_version"] <= sync["seen_version"]
        applied.append(sync["applied_version"])
    return applied


@pytest.mark.parametrize("strategy", ["notify", "poll"])
async def test_all_nodes_end_up_as_the_tables_are(
    start_nodes: StartNodes, upstream: Upstream, database_url: str, strategy: str
) -> None:
    nodes = await start_nodes(3, strategy=strategy, poll_interval_s=0.1)
    writers = [
        Writer(node, f"{node.name}-{number}", upstream)
        for node in nodes
        for number in range(WRITERS_PER_NODE)
    ]
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(watch(node, done)) for node in nodes]
        by_hand = write_by_hand(database_url, random.Random(strategy))
        await asyncio.gather(by_hand, *(writer.write() for writer in writers))
        await all_reach(nodes, await newest_version(database_url))
        done.set()
    for watcher in watchers:
        applied = watcher.result()
        assert applied == sorted(applied)
        assert len(set(applied)) > 2
    for writer in writers:
        assert writer.versions == sorted(writer.versions)
    await check_that_the_log_is_whole(database_url)
    await check_that_they_serve_the_tables(nodes, database_url)
    await run_sql(database_url, "DELETE FROM upstreams")  # then every service has a target
    await all_reach(nodes, await newest_version(database_url))
    await check_that_they_serve_the_tables(nodes, database_url)


async def check_that_they_serve_the_tables(nodes: list[NodeProcess], database_url: str) -> None:
    expected = await answers_that_follow_from(database_url)
    for node in nodes:
        assert await answers_of(node) == expected


async def answers_that_follow_from(database_url: str) -> dict[str, tuple[int, str]]:
    """Return what each path must answer by what is in the tables: status and upstream path."""
    pools = await rows(database_url, f"SELECT id FROM upstreams WHERE name = '{POOL}'")
    good = await rows(database_url, "SELECT id FROM targets WHERE weight > 0")
    status = 503 if pools and not good else 200
    # Of routes that are alike, the oldest one answers, then the one with the smallest id.
    routes = await rows(
        database_url,
        "SELECT unnest(routes.paths), services.path FROM routes JOIN services "
        "ON services.id = service_id ORDER BY routes.created_at DESC, routes.id DESC",
    )
    served = {path: (status, to if status == 200 else "") for path, to in routes}
    return {path: served.get(path, (404, "")) for path in PATHS}


PATHS = [f"/r{number:02}" for number in range(ROUTES)]


async def answers_of(node: NodeProcess) -> dict[str, tuple[int, str]]:
    answers = {}
    for path in PATHS:
        response = await node.proxy(path)
        answers[path] = (response.status_code, response.text if response.is_success else "")
    return answers

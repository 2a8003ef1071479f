"""PostgreSQL goes away under traffic: no request notices, and the nodes find back by themselves."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.lab.fault_proxy import FaultProxy
from gateway.store.embedded import EmbeddedPostgres

from .conftest import StartNodes
from .nodes import DEADLINE_S, NodeProcess, all_reach, until
from .sql import check_that_the_log_is_whole, newest_version, rows, run_sql
from .traffic import SteadyTraffic
from .upstream import Upstream

GOES_AND_COMES = ("sync fails, the last good configuration stays", "sync works again")
ASKS_OFTEN = {"poll_interval_s": 0.2, "heartbeat_interval_s": 0.2}
SHORT_DEADLINES = ASKS_OFTEN | {
    "sync_timeout_s": 1,
    "database_connect_timeout_s": 1,
    "database_statement_timeout_s": 1,
}


async def give_them_something_to_serve(nodes: list[NodeProcess], upstream: Upstream) -> None:
    await nodes[0].write("PUT", "/services/orders", {"url": upstream.url})
    route = {"paths": ["/orders"]}
    await all_reach(nodes, await nodes[0].write("PUT", "/services/orders/routes/orders", route))


async def check_that_they_say_so(node: NodeProcess) -> None:
    await node.becomes("database unavailable")
    report = await node.report()
    assert report["database"] == {"reachable": False}
    assert report["sync"]["last_error"]
    assert report["node"]["ready"] is True
    assert await node.ready() == 200
    metrics = await node.metrics()
    assert metrics.value("gateway_datastore_reachable") == 0
    assert metrics.value("gateway_config_sync_failures_total") > 0
    age_s = metrics.value("gateway_config_sync_age_seconds")

    async def grows_older() -> bool:
        return (await node.metrics()).value("gateway_config_sync_age_seconds") > age_s

    await until(grows_older)


async def check_that_the_admin_api_says_so(node: NodeProcess) -> None:
    async with asyncio.TaskGroup() as group:
        for method, path, body in (
            ("POST", "/services", {"name": "never", "host": "a.test"}),
            ("PATCH", "/routes/orders", {"paths": ["/never"]}),
            ("DELETE", "/routes/orders", None),
            ("GET", "/services", None),
            ("GET", "/cluster", None),
        ):
            group.create_task(check_that_it_is_refused(node, method, path, body))
    assert (await node.admin("GET", "/status")).json()["database"] == {"reachable": False}


async def check_that_it_is_refused(
    node: NodeProcess, method: str, path: str, body: dict[str, Any] | None
) -> None:
    response = await node.admin(method, path, body)
    assert response.status_code == 503, f"{method} {path}: {response.text}"
    assert int(response.headers["Retry-After"]) > 0
    assert "database" in response.json()["message"]


async def check_that_they_are_well_again(nodes: list[NodeProcess], database_url: str) -> None:
    await all_reach(nodes, await newest_version(database_url))
    for node in nodes:
        await node.becomes("synced")
        assert (await node.metrics()).value("gateway_datastore_reachable") == 1
        await node.logged(GOES_AND_COMES[1])
    await check_that_the_log_is_whole(database_url)


async def test_a_stopped_postgres_costs_not_one_request(
    start_nodes: StartNodes, upstream: Upstream, own_postgres: EmbeddedPostgres
) -> None:
    database_url = own_postgres.url()
    nodes = await start_nodes(2, database_url=database_url, **ASKS_OFTEN)
    await give_them_something_to_serve(nodes, upstream)
    urls = [f"http://{node.addresses['proxy']}/orders" for node in nodes]
    async with SteadyTraffic.to(*urls) as traffic:
        await traffic.goes_on()
        await asyncio.to_thread(own_postgres.stop)
        await asyncio.gather(*map(check_that_they_say_so, nodes))
        await asyncio.gather(*map(check_that_the_admin_api_says_so, nodes))
        await traffic.goes_on()

        await asyncio.to_thread(own_postgres.start)
        move = "UPDATE routes SET paths = '{/orders,/moved}'"
        await run_sql(database_url, move, "INSERT INTO services (name, host) VALUES ('new', 'b')")
        await check_that_they_are_well_again(nodes, database_url)
        await traffic.goes_on()
    assert traffic.failures == []
    assert {answer for answers in traffic.answers.values() for answer in answers} == {(200, "/")}
    for node in nodes:
        assert (await node.proxy("/moved")).status_code == 200
        for said_once in (*GOES_AND_COMES, "heartbeat not written"):
            assert len(node.lines_of(said_once)) == 1
    assert await rows(database_url, "SELECT name FROM services ORDER BY 1") == [
        ("new",),
        ("orders",),
    ]
    await all_reach(nodes, await nodes[1].write("DELETE", "/routes/orders"))


async def test_a_postgres_that_answers_no_more_costs_not_one_request(
    start_nodes: StartNodes, upstream: Upstream, postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with FaultProxy.before(postgres) as network:
        through_it = network.url(database_url)
        nodes = await start_nodes(2, database_url=through_it, **SHORT_DEADLINES)
        await give_them_something_to_serve(nodes, upstream)
        urls = [f"http://{node.addresses['proxy']}/orders" for node in nodes]
        async with SteadyTraffic.to(*urls) as traffic:
            network.stall()
            await asyncio.gather(*map(check_that_they_say_so, nodes))
            await asyncio.gather(*map(check_that_the_admin_api_says_so, nodes))
            await run_sql(database_url, "UPDATE routes SET paths = '{/orders,/moved}'")
            await traffic.goes_on()
            network.heal()
            await check_that_they_are_well_again(nodes, database_url)
        assert traffic.failures == []
        for node in nodes:
            assert (await node.proxy("/moved")).status_code == 200
        await all_reach(nodes, await nodes[1].write("DELETE", "/routes/orders"))


async def test_writes_under_way_when_postgres_stops_are_whole_or_nothing(
    start_nodes: StartNodes, own_postgres: EmbeddedPostgres
) -> None:
    database_url = own_postgres.url()
    (node,) = await start_nodes(1, database_url=database_url, **ASKS_OFTEN)
    acknowledged: list[str] = []
    refused = asyncio.Event()

    async def write(writer: int) -> None:
        number = 0
        while not refused.is_set():
            number += 1
            service = {"name": f"s-{writer}-{number}", "host": "a.test"}
            response = await node.admin("POST", "/services", service)
            if response.status_code == 201:
                acknowledged.append(service["name"])
            else:
                assert response.status_code == 503
                refused.set()

    async with asyncio.TaskGroup() as group:
        for writer in range(4):
            group.create_task(write(writer))

        async def some_are_written() -> bool:
            return len(acknowledged) > 20

        await until(some_are_written)
        await asyncio.to_thread(own_postgres.stop)
    await asyncio.to_thread(own_postgres.start)
    await check_that_the_log_is_whole(database_url)
    there = {name for (name,) in await rows(database_url, "SELECT name FROM services")}
    assert set(acknowledged) <= there
    # Where the connection was lost during the commit, nobody can know what came of it.
    assert len(there) <= len(acknowledged) + 4
    await node.reaches(await newest_version(database_url))


async def test_a_node_can_be_stopped_while_postgres_does_not_answer(
    start_nodes: StartNodes, postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with FaultProxy.before(postgres) as network:
        (node,) = await start_nodes(
            1,
            database_url=network.url(database_url),
            database_connect_timeout_s=10 * DEADLINE_S,
            database_statement_timeout_s=10 * DEADLINE_S,
        )
        network.stall()
        await network.has_stalled()
        assert await node.stop() == 0

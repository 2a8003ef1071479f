"""Who did what, and that nobody overwrites what he has not seen: whichever node he asks."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .sql import newest_version, rows, run_sql

ROUNDS = 10


async def change(
    http: httpx.AsyncClient, node: NodeProcess, method: str, path: str, **options: Any
) -> httpx.Response:
    return await http.request(method, f"http://{node.addresses['admin']}{path}", **options)


async def log_of(node: NodeProcess, query: str = "") -> list[dict[str, Any]]:
    """The newest page of the log, the newest first."""
    data: list[dict[str, Any]] = (await node.admin("GET", f"/audit?size=1000&{query}")).json()[
        "data"
    ]
    return data


async def test_of_two_editors_with_the_same_etag_one_wins(
    start_nodes: StartNodes, http: httpx.AsyncClient
) -> None:
    nodes = await start_nodes(2)
    etag = (await nodes[0].admin("PUT", "/services/orders", {"host": "h"})).headers["ETag"]
    winners = []
    for number in range(ROUNDS):
        assert (await nodes[number % 2].admin("GET", "/services/orders")).headers["ETag"] == etag
        answers = await asyncio.gather(
            *(
                change(
                    http,
                    node,
                    "PATCH",
                    "/services/orders",
                    json={"host": f"{node.name}-{number}"},
                    headers={"If-Match": etag},
                )
                for node in nodes
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412]
        (winner,) = (answer for answer in answers if answer.is_success)
        winners.append(winner.json()["host"])
        etag = winner.headers["ETag"]
    updates = await log_of(nodes[0], "kind=services&operation=update")
    assert [entry["after"]["host"] for entry in reversed(updates)] == winners


async def test_of_two_who_create_one_does(start_nodes: StartNodes, http: httpx.AsyncClient) -> None:
    nodes = await start_nodes(2)
    for number in range(ROUNDS):
        put = {"json": {"host": "h"}, "headers": {"If-None-Match": "*"}}
        answers = await asyncio.gather(
            *(change(http, node, "PUT", f"/services/s{number}", **put) for node in nodes)
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412]


async def test_the_log_tells_the_same_at_every_node(
    start_nodes: StartNodes, http: httpx.AsyncClient, database_url: str
) -> None:
    nodes = await start_nodes(2)
    for number in range(ROUNDS):
        await nodes[number % 2].write("PUT", f"/consumers/c{number}", {"custom_id": f"{number}"})
        await nodes[number % 2].write(
            "POST", f"/consumers/c{number}/key-auth", {"key": f"k{number}"}
        )
    await run_sql(database_url, "UPDATE consumers SET tags = '{by-hand}'")
    await nodes[1].write("DELETE", "/consumers/c0")
    first, second = [await log_of(node) for node in nodes]
    assert first == second
    assert len(first) == 2 * ROUNDS + ROUNDS + 2
    by_hand = [entry for entry in first if entry["address"] is None]
    assert len(by_hand) == ROUNDS
    assert {(entry["version"], tuple(entry["changed"])) for entry in by_hand} == {
        (2 * ROUNDS + 1, ("tags",))
    }
    gone = {(entry["kind"], entry["request_id"]) for entry in first[:2]}
    assert len(gone) == 2
    assert len({request_id for _, request_id in gone}) == 1
    assert {entry["version"] for entry in first} == set(range(1, 2 * ROUNDS + 3))
    logged = await rows(database_url, "SELECT version, kind, entity_id, operation FROM changes")
    assert sorted(
        (e["version"], e["kind"], e["entity_id"], e["operation"]) for e in first
    ) == sorted((version, kind, str(id_), operation) for version, kind, id_, operation in logged)
    await all_reach(nodes, await newest_version(database_url))

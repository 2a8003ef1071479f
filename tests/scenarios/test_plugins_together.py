"""Six plugins on one route, over three nodes, while one of its two targets dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.plugins.collectors import Collector, http_collector

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach, until
from .upstream import Upstream

LIMIT = 1000
ASKED = "/orders/1?debug=1"
PROBED = {
    "active": {
        "type": "tcp",
        "healthy": {"interval": 0.1, "successes": 1},
        "unhealthy": {"interval": 0.1, "tcp_failures": 1},
    }
}


@pytest.fixture
async def doomed() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


async def put_together(node: NodeProcess, collector: Collector, *targets: Upstream) -> int:
    """Write all of it; return the version."""
    await node.write("PUT", "/upstreams/orders", {"healthchecks": PROBED})
    for target in targets:
        address = f"127.0.0.1:{target.port}"
        await node.write("POST", "/upstreams/orders/targets", {"target": address})
    await node.write("PUT", "/services/orders", {"host": "orders"})
    await node.write("PUT", "/services/orders/routes/orders", {"paths": ["/orders"]})
    for name, groups in (("alice", ["staff"]), ("mallory", [])):
        await node.write("PUT", f"/consumers/{name}")
        await node.write("POST", f"/consumers/{name}/key-auth", {"key": f"key-of-{name}"})
        for group in groups:
            await node.write("POST", f"/consumers/{name}/acls", {"group": group})
    plugins: dict[str, Any] = {
        "key-auth": {"hide_credentials": True},
        "acl": {"allow": ["staff"]},
        "rate-limiting": {"hour": LIMIT},
        "request-transformer": {
            "add": {"headers": ["X-Tenant:acme"]},
            "remove": {"querystring": ["debug"]},
        },
        "cors": {"origins": ["https://shop.example"]},
        "http-log": {"http_endpoint": f"http://127.0.0.1:{collector.port}/logs"},
    }
    for name, config in plugins.items():
        plugin = {"name": name, "config": config}
        version = await node.write("POST", "/routes/orders/plugins", plugin)
    return version


async def ask(node: NodeProcess, name: str = "") -> httpx.Response:
    headers = {"Origin": "https://shop.example"} | ({"apikey": f"key-of-{name}"} if name else {})
    return await node.proxy(ASKED, headers=headers)


async def test_each_does_its_part_and_a_dying_target_costs_nobody_an_answer(
    start_nodes: StartNodes, upstream: Upstream, doomed: Upstream
) -> None:
    nodes = await start_nodes(3)
    async with http_collector() as collector:
        await all_reach(nodes, await put_together(nodes[0], collector, upstream, doomed))
        for node in nodes:
            await check_who_gets_in(node)
        answers = [await ask(node, "alice") for _ in range(10) for node in nodes]
        assert doomed.requests["/1"] > 0 < upstream.requests["/1"]
        await doomed.stop()
        answers += [await ask(node, "alice") for _ in range(20) for node in nodes]
        check_answers(answers)
        check_what_reached_the_service(upstream)
        await asyncio.gather(*(notices(node) for node in nodes))
        await check_the_log(collector, refused=3 * 3, served=1 * 3 + len(answers))


async def check_who_gets_in(node: NodeProcess) -> None:
    nobody, stranger, outsider = [await ask(node, name) for name in ("", "bob", "mallory")]
    alice = await ask(node, "alice")
    assert [nobody.status_code, stranger.status_code, outsider.status_code] == [401, 401, 403]
    assert outsider.json()["message"] == "You cannot consume this service"
    assert alice.status_code == 200
    for answer in (nobody, outsider, alice):  # cors sees answers of the others as well
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "RateLimit-Remaining" not in nobody.headers
    preflight = await node.proxy(
        ASKED,
        method="OPTIONS",
        headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"},
    )
    assert (preflight.status_code, preflight.headers["Content-Length"]) == (200, "0")


def check_answers(answers: list[httpx.Response]) -> None:
    """All were served, and each node has counted down by one for each of its own."""
    assert {answer.status_code for answer in answers} == {200}
    lefts = [int(answer.headers["X-RateLimit-Remaining-Hour"]) for answer in answers]
    assert lefts == [LIMIT - 2 - turn for turn in range(len(answers) // 3) for _ in range(3)]


def check_what_reached_the_service(upstream: Upstream) -> None:
    line, *lines = upstream.last_head.decode().rstrip().split("\r\n")
    headers = dict(it.lower().split(": ", 1) for it in lines)
    assert line == "GET /1 HTTP/1.1"
    assert (headers["x-tenant"], headers["x-consumer-username"]) == ("acme", "alice")
    assert headers["x-consumer-groups"] == "staff"
    assert "apikey" not in headers


async def notices(node: NodeProcess) -> None:
    """Wait until a node has taken the target out."""

    async def has_noticed() -> bool:
        return (await node.metrics()).value("gateway_health_unhealthy_addresses") == 1

    await until(has_noticed)


async def check_the_log(collector: Collector, refused: int, served: int) -> None:
    """The collector hears of all requests, preflights as well, once each."""
    preflights = 3

    async def are_all_there() -> bool:
        return len(collector.posts) >= refused + served + preflights

    await until(are_all_there)
    records = [post.content for post in collector.posts]
    statuses = [record["response"]["status"] for record in records]
    assert statuses.count(401) == refused * 2 // 3
    assert statuses.count(403) == refused // 3
    assert statuses.count(200) == served + preflights
    named = [record["consumer"]["username"] for record in records if "consumer" in record]
    assert named.count("alice") == served

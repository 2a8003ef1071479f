"""The stale window closed on request: writes that wait for the cluster, requests with a version.

`GATEWAY_BARRIER_TRIES=10000` makes the first story as long as one has patience for.
"""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach, until
from .upstream import Upstream

TRIES = int(os.environ.get("GATEWAY_BARRIER_TRIES", "300"))
WRITERS = 10
SELDOM = {"poll_interval_s": 3600}


async def give_them_routes(nodes: list[NodeProcess], upstream: Upstream, number: int) -> None:
    """Routes ``/k``, each to a service of its own whose path the upstream answers with."""
    for key in range(number):
        await nodes[0].write("PUT", f"/services/{key}", {"url": f"{upstream.url}/0"})
        route = {"paths": [f"/{key}"]}
        version = await nodes[0].write("PUT", f"/services/{key}/routes/{key}", route)
    await all_reach(nodes, version)


@pytest.mark.timeout(120 + TRIES)
@pytest.mark.parametrize("strategy", ["notify", "poll"])
async def test_after_a_write_that_waited_no_node_serves_what_was_before(
    start_nodes: StartNodes, upstream: Upstream, strategy: str
) -> None:
    nodes = await start_nodes(3, strategy=strategy, poll_interval_s=0.1)
    await give_them_routes(nodes, upstream, WRITERS)
    stale: list[str] = []

    async def write_and_look(key: int) -> None:
        for number in range(1, TRIES // WRITERS + 1):
            node = nodes[(key + number) % 3]
            path = f"/services/{key}?wait=cluster&timeout=60s"
            written = await node.admin("PATCH", path, {"path": f"/{number}"})
            assert written.headers["X-Gateway-Propagation"] == "3/3"
            answers = await asyncio.gather(*(node.proxy(f"/{key}") for node in nodes))
            stale.extend(f"{a.text} not {number}" for a in answers if a.text != f"/{number}")

    await asyncio.gather(*map(write_and_look, range(WRITERS)))
    assert stale == []


async def test_a_node_that_does_not_get_there_in_time_is_named(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    nodes = await start_nodes(3)
    await give_them_routes(nodes, upstream, 1)
    slow = nodes[2]
    slow.process.send_signal(signal.SIGSTOP)
    written = await nodes[0].admin(
        "PATCH", "/services/0?wait=cluster&timeout=300ms", {"path": "/1"}
    )
    assert written.status_code == 200
    assert written.headers["X-Gateway-Propagation"] == "2/3"
    assert written.headers["X-Gateway-Propagation-Behind"] == slow.name
    slow.process.send_signal(signal.SIGCONT)
    written = await nodes[0].admin("PATCH", "/services/0?wait=cluster&timeout=60s", {"path": "/2"})
    assert written.headers["X-Gateway-Propagation"] == "3/3"
    assert (await slow.proxy("/0")).text == "/2"


async def test_a_killed_node_is_waited_for_only_as_long_as_it_may_be_alive(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    nodes = await start_nodes(3, heartbeat_interval_s=0.1)
    await give_them_routes(nodes, upstream, 1)
    await nodes[2].kill()
    written = await nodes[0].admin("PATCH", "/services/0?wait=cluster&timeout=60s", {"path": "/1"})
    assert written.headers["X-Gateway-Propagation"] == "2/2"
    assert written.headers["X-Gateway-Propagation-Unseen"] == nodes[2].name


async def test_a_request_that_carries_the_version_reads_what_was_written(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    """The nodes poll once an hour, so that only the request itself can bring the version."""
    nodes = await start_nodes(3, strategy="poll", **SELDOM)
    await nodes[0].write("PUT", "/services/0", {"url": f"{upstream.url}/0"})
    version = await nodes[0].write("PUT", "/services/0/routes/0", {"paths": ["/0"]})
    for number in range(1, 20):
        writer = nodes[number % 3]
        version = await writer.write("PATCH", "/services/0", {"path": f"/{number}"})
        carrying = {"X-Gateway-Min-Version": str(version)}
        for node in nodes:
            assert (await node.proxy("/0", headers=carrying)).text == f"/{number}"
    await nodes[0].write("PATCH", "/services/0", {"path": "/unseen"})
    assert (await nodes[1].proxy("/0")).text == "/19"


async def test_a_node_out_of_touch_refuses_where_it_must_not_be_stale(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    (node,) = await start_nodes(
        1,
        poll_interval_s=0.1,
        heartbeat_interval_s=0.1,
        max_stale_s=1,
        stale_action="refuse",
    )
    await give_them_routes([node], upstream, 1)
    assert (await node.proxy("/0")).status_code == 200
    node.process.send_signal(signal.SIGSTOP)
    # Longer than it may be stale: what it is asked now, it answers only after it has woken up.
    asked = asyncio.create_task(node.proxy("/0"))
    await asyncio.sleep(1.5)
    node.process.send_signal(signal.SIGCONT)
    assert (await asked).status_code == 503

    async def is_back() -> bool:
        return (await node.proxy("/0")).status_code == 200

    await until(is_back)
    assert (await node.metrics()).value("gateway_stale_refusals_total") >= 1

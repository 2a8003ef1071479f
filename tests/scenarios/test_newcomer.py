"""A newcomer's first hour: what the README's tour shows, and what it promises."""

from __future__ import annotations

import argparse
import asyncio
import re
import shlex
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach, http_client, until
from .upstream import Upstream

README = Path(__file__).parents[2] / "README.md"


async def test_what_is_written_through_one_node_is_served_by_all(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    first, second, third = nodes = await start_nodes(3)
    service = {"name": "orders", "url": f"{upstream.url}/v1"}
    created = await first.write("POST", "/services", service)
    route = {"name": "orders", "paths": ["/orders"]}
    assert await first.write("POST", "/services/orders/routes", route) == created + 1
    await all_reach(nodes, created + 1)
    for node in nodes:
        assert (await node.proxy("/orders/42")).text == "/v1/42"

    await all_reach(nodes, await second.write("PATCH", "/routes/orders", {"methods": ["POST"]}))
    for node in nodes:
        assert (await node.proxy("/orders/42")).status_code == 404
        assert (await node.proxy("/orders/42", "POST", content=b"x")).text == "/v1/42"

    await first.write("POST", "/upstreams", {"name": "orders.internal"})
    target = {"target": f"127.0.0.1:{upstream.port}"}
    await second.write("POST", "/upstreams/orders.internal/targets", target)
    service = {"host": "orders.internal", "port": 1}
    await all_reach(nodes, await third.write("PATCH", "/services/orders", service))
    for node in nodes:
        assert (await node.proxy("/orders/42", "POST")).text == "/v1/42"
    assert upstream.requests == {"/v1/42": 9}

    await all_reach(nodes, await third.write("DELETE", "/routes/orders"))
    for node in nodes:
        assert (await node.proxy("/orders/42", "POST")).status_code == 404


async def test_the_cluster_and_its_counters_can_be_watched_from_anywhere(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    first, second = nodes = await start_nodes(2, heartbeat_interval_s=0.1)
    await first.write("PUT", "/services/orders", {"url": upstream.url})
    route = {"paths": ["/orders"]}
    version = await first.write("PUT", "/services/orders/routes/orders", route)
    await all_reach(nodes, version)

    async def both_are_shown_up_to_date() -> bool:
        seen = await second.cluster()
        return all(node["applied_version"] == version for node in seen.values())

    await until(both_are_shown_up_to_date)
    seen = await second.cluster()
    assert sorted(seen) == ["node-1", "node-2"]
    for node in nodes:
        shown = seen[node.name]
        assert (shown["alive"], shown["lag"], shown["strategy"]) == (True, 0, "notify")
        assert shown["proxy_address"] == node.addresses["proxy"]

    for _ in range(3):
        assert (await first.proxy("/orders", "POST", content=b"hello")).is_success
    metrics = await first.metrics()
    orders = {"service": "orders", "route": "orders"}
    answered = {"code": "200", "source": "service"}
    assert metrics.value("gateway_http_requests_total", **orders, **answered) == 3
    assert metrics.value("gateway_request_latency_ms_count", **orders) == 3
    assert metrics.value("gateway_bandwidth_bytes_total", **orders, direction="ingress") > 15
    assert metrics.value("gateway_config_version_applied") == version
    assert metrics.value("gateway_config_propagation_ms_count") > 0
    assert "orders" not in await second.metrics()

    await first.reaches(await second.write("DELETE", "/routes/orders"))
    assert "orders" not in await first.metrics()


async def test_the_commands_of_the_readme_do_what_it_says(
    start_nodes: StartNodes, upstream: Upstream, tmp_path: Path
) -> None:
    nodes = await start_nodes(3)
    await nodes[0].write("PUT", "/services/demo", {"url": upstream.url})
    demo = {"paths": ["/demo"]}
    await all_reach(nodes, await nodes[0].write("PUT", "/services/demo/routes/demo", demo))
    expected = [
        *("200", "200"),  # the demo route
        *("201", "201", "200 /v1/42", "200 /v1/42"),  # orders, created
        *("200", "404", "200 /v1/42"),  # POST only
        *("201", "201", "200", "200 /v1/42"),  # over a target
        *("200", "204", "503", "204"),  # a target out of service, and in again
        *("201", "200 /v1/42", "200 /v1/42", "429"),  # limited
        *("204", "404", "404"),  # deleted
        *("200", "node-3"),  # looked at
        *("201", "200 /v1/42"),  # created again, by a write that waits
        *("200 /v1/42", "503"),  # asked for with a version, one that is there and one that is not
        '"operation":"create"',  # who changed what
        *("", "0 to update, 0 to delete", "served by 3/3 nodes"),  # as a file
        *("201", "201", "201", "401", "200 /v1/42"),  # with a key
        *("gateway_config_version_applied", "200"),  # counted
    ]
    for command, outcome in zip(commands_of_the_tour(), expected, strict=True):
        told = await carry_out(command.replace("/tmp", str(tmp_path)), nodes, upstream)
        assert outcome in told, f"{command}\n{told}"


def commands_of_the_tour() -> list[str]:
    tour = README.read_text().partition("## The tour")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", tour, re.DOTALL)
    return "".join(blocks).splitlines()


async def carry_out(command: str, nodes: list[NodeProcess], upstream: Upstream) -> str:
    """Run a command of the README against these nodes; return what there is to see."""
    words = shlex.split(localised(command, nodes, upstream))
    if words[0] == "curl":
        return await curl(words[1:], nodes)
    admin_url = f"http://{nodes[0].addresses['admin']}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *words[1:], "--admin-url", admin_url),
        stdout=PIPE,
        stderr=STDOUT,
    )
    return (await process.communicate())[0].decode()


def localised(command: str, nodes: list[NodeProcess], upstream: Upstream) -> str:
    """Replace the ports that `make up` would take by those taken here."""
    ports = {"9000": upstream.port}
    for k, node in enumerate(nodes):
        for first, listener in ((8000, "proxy"), (8001, "admin"), (8100, "status")):
            ports[str(first + 10 * k)] = node.port(listener)
    return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: str(ports[found[0]]), command)


async def curl(arguments: list[str], nodes: list[NodeProcess]) -> str:
    """Do what curl would do, and wait until what it changed is served everywhere."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", action="store_true")
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data", action="append", default=[])
    parser.add_argument("url")
    end = arguments.index("|") if "|" in arguments else len(arguments)
    given = parser.parse_args(arguments[:end])
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if given.data else {}
    headers |= dict(header.split(": ") for header in given.headers)
    async with http_client() as client:
        response = await client.request(
            given.method or ("POST" if given.data else "GET"),
            given.url,
            headers=headers,
            content="&".join(given.data),
        )
    await all_reach(nodes, int(response.headers.get("X-Gateway-Config-Version", 0)))
    text = f"{response.status_code} {response.text}"
    return grep(arguments[end + 1 :], text) if end < len(arguments) else text


def grep(arguments: list[str], text: str) -> str:
    program, option, pattern = arguments
    assert (program, option) == ("grep", "-E")
    return "\n".join(line for line in text.splitlines() if re.search(pattern, line))

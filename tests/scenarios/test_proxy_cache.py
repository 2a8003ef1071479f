"""Each node keeps responses of its own, and a purge through any of them reaches all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.hybrid.certificates import make_pair

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .upstream import Upstream

OFTEN = {"poll_interval_s": 0.2, "heartbeat_interval_s": 0.2}
UNKNOWN = "f" * 64


class TextUpstream(Upstream):
    """Says of its answers that they are text, as the cache keeps no others."""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1]
        self.requests[path.decode()] += 1
        lines = b"Content-Type: text/plain\r\nContent-Length: %d" % len(path)
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (lines, path))
        await writer.drain()


@pytest.fixture
async def texts() -> AsyncIterator[TextUpstream]:
    upstream = TextUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


async def cached_by(nodes: list[NodeProcess], upstream: Upstream) -> str:
    """Have the nodes keep what they get; return the id of the plugin."""
    await nodes[0].write("PUT", "/services/orders", {"url": upstream.url})
    await nodes[0].write("PUT", "/services/orders/routes/orders", {"paths": ["/"]})
    plugin = {"name": "proxy-cache", "config": {"strategy": "memory"}}
    answer = await nodes[0].admin("POST", "/routes/orders/plugins", plugin)
    await all_reach(nodes, int(answer.headers["X-Gateway-Config-Version"]))
    plugin_id: str = answer.json()["id"]
    return plugin_id


async def outcomes(nodes: list[NodeProcess], path: str) -> list[str]:
    answers = [await node.proxy(path) for node in nodes]
    return [answer.headers["X-Cache-Status"] for answer in answers]


async def purge(node: NodeProcess, path: str) -> httpx.Response:
    return await node.admin("DELETE", f"{path}?wait=cluster&timeout=30s")


async def test_a_purge_reaches_all_nodes(start_nodes: StartNodes, texts: TextUpstream) -> None:
    nodes = await start_nodes(3, **OFTEN)
    plugin_id = await cached_by(nodes, texts)
    for path in ("/a", "/b"):
        assert await outcomes(nodes, path) == ["Miss"] * 3
        assert await outcomes(nodes, path) == ["Hit"] * 3
    assert texts.requests == {"/a": 3, "/b": 3}

    key = (await nodes[0].proxy("/a")).headers["X-Cache-Key"]
    told = (await nodes[1].admin("GET", f"/proxy-cache/{key}")).json()
    assert (told["body"], told["plugin"]["id"]) == ("/a", plugin_id)

    answer = await purge(nodes[2], f"/proxy-cache/{key}")
    assert (answer.status_code, answer.headers["X-Gateway-Propagation"]) == (204, "3/3")
    assert await outcomes(nodes, "/a") == ["Miss"] * 3
    assert await outcomes(nodes, "/b") == ["Hit"] * 3

    assert (await purge(nodes[0], f"/proxy-cache/{plugin_id}/caches/{key}")).status_code == 204
    assert await outcomes(nodes, "/a") == ["Miss"] * 3

    assert (await purge(nodes[1], "/proxy-cache")).status_code == 204
    assert (await nodes[1].admin("GET", f"/proxy-cache/{key}")).status_code == 404
    for path in ("/a", "/b"):
        assert await outcomes(nodes, path) == ["Miss"] * 3
    metrics = await nodes[0].metrics()
    assert metrics.value("gateway_proxy_cache_requests_total", status="miss") == 6
    assert metrics.value("gateway_proxy_cache_entries") == 2


async def test_a_purge_reaches_those_who_have_it_through_one_who_has_not(
    start_nodes: StartNodes, texts: TextUpstream
) -> None:
    has, has_not = nodes = await start_nodes(2, **OFTEN)
    await cached_by(nodes, texts)
    key = (await has.proxy("/a")).headers["X-Cache-Key"]
    answer = await purge(has_not, f"/proxy-cache/{key}")
    assert (answer.status_code, answer.headers["X-Gateway-Propagation"]) == (404, "2/2")
    assert await outcomes([has], "/a") == ["Miss"]
    assert (await purge(has, f"/proxy-cache/{UNKNOWN}")).status_code == 404
    assert await outcomes([has], "/a") == ["Hit"]


async def test_a_purge_through_a_control_plane_reaches_data_planes(
    start_nodes: StartNodes, texts: TextUpstream, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path, days=90)
    shared = OFTEN | {"cluster_cert": pair.certificate_path, "cluster_cert_key": pair.key_path}
    (control,) = await start_nodes(1, role="control-plane", cluster_port=0, **shared)
    link = {
        "role": "data-plane",
        "database_url": "",
        "control_planes": control.addresses["cluster"],
    }
    edges = [(await start_nodes(1, node_name=name, **link, **shared))[0] for name in "ab"]
    await cached_by([control, *edges], texts)
    assert await outcomes(edges, "/a") == ["Miss"] * 2
    key = (await edges[0].proxy("/a")).headers["X-Cache-Key"]
    assert (await control.admin("GET", f"/proxy-cache/{key}")).status_code == 404
    for path in (f"/proxy-cache/{key}", "/proxy-cache"):
        answer = await purge(control, path)
        assert (answer.status_code, answer.headers["X-Gateway-Propagation"]) == (204, "2/2")
        assert await outcomes(edges, "/a") == ["Miss"] * 2

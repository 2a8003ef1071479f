"""A file given to one node is one version, which all nodes serve."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from gateway.declarative.reading import read

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach
from .upstream import Upstream

FILES = Path(__file__).parents[1] / "declarative" / "files"
EXPORT = (FILES / "kong-3.9-export.yaml").read_text()
DECK = (FILES / "kong-2.8-deck.yaml").read_text()

YAML = {"content-type": "application/yaml"}


async def sync(
    node: NodeProcess, http: httpx.AsyncClient, content: str, query: str = ""
) -> httpx.Response:
    url = f"http://{node.addresses['admin']}/config?{query}"
    return await http.post(url, content=content, headers=YAML)


def leading_to(upstream: Upstream, content: str) -> str:
    """The same file, its services and targets all replaced by a server of ours."""
    document = read(content)
    for service in document["services"]:
        service.pop("url", None)
        service |= {"host": "127.0.0.1", "port": upstream.port, "protocol": "http"}
        for field in ("client_certificate", "tls_verify", "tls_verify_depth", "ca_certificates"):
            service.pop(field, None)
    return json.dumps(document)


async def test_what_kong_exported_is_served_by_a_node_that_never_saw_the_file(
    start_nodes: StartNodes, upstream: Upstream, http: httpx.AsyncClient
) -> None:
    one, two = await start_nodes(2)
    for content, item in ((EXPORT, "/catalog/7"), (DECK, "/catalog/7")):
        done = await sync(one, http, leading_to(upstream, content), "wait=cluster&timeout=20s")
        assert done.status_code == 200, done.text
        assert done.headers["x-gateway-propagation"] == "2/2"
        await all_reach([one, two], int(done.headers["x-gateway-config-version"]))
        for path in ("/orders", "/orders/1", item):
            assert (await two.proxy(path)).status_code == 200, path
        assert (await two.proxy("/nowhere")).status_code == 404


async def test_the_same_file_again_through_another_node_is_no_new_version(
    start_nodes: StartNodes, http: httpx.AsyncClient
) -> None:
    one, two = await start_nodes(2)
    first = await sync(one, http, EXPORT)
    again = await sync(two, http, EXPORT)
    assert first.json()["version"] == again.json()["version"] == 1
    assert again.json()["differences"] == []
    text = (await two.admin("GET", "/config")).json()["config"]
    assert (await sync(one, http, text, "dry_run=1")).json()["differences"] == []


async def test_files_through_several_nodes_at_once_follow_one_another(
    start_nodes: StartNodes, http: httpx.AsyncClient
) -> None:
    nodes = await start_nodes(3)

    def tagged(name: str) -> dict[str, Any]:
        service = {"name": name, "host": f"{name}.test", "routes": [{"paths": [f"/{name}"]}]}
        return {"_format_version": "3.0", "services": [service]}

    names = ["a", "b", "c"]
    answers = await asyncio.gather(
        *(
            sync(node, http, json.dumps(tagged(name)), f"select_tag={name}")
            for node, name in zip(nodes, names, strict=True)
        )
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    versions = sorted(int(answer.headers["x-gateway-config-version"]) for answer in answers)
    assert versions == [1, 2, 3]
    await all_reach(nodes, 3)
    services = (await nodes[0].admin("GET", "/services")).json()["data"]
    assert sorted(service["name"] for service in services) == names


async def test_a_refused_file_changes_nothing_that_is_served(
    start_nodes: StartNodes, upstream: Upstream, http: httpx.AsyncClient
) -> None:
    one, two = await start_nodes(2)
    first = await sync(one, http, leading_to(upstream, EXPORT))
    await all_reach([one, two], 1)
    broken = read(leading_to(upstream, EXPORT))
    broken["routes"][30]["paths"] = ["no path"]
    refused = await sync(one, http, json.dumps(broken))
    assert (first.status_code, refused.status_code) == (200, 400)
    assert "in entry 31 of 'routes'" in refused.json()["text"]
    assert (await one.cluster())["node-1"]["applied_version"] == 1
    assert (await two.proxy("/orders")).status_code == 200


async def test_a_node_that_stops_in_the_middle_leaves_nothing_half_done(
    start_nodes: StartNodes, http: httpx.AsyncClient
) -> None:
    one, two = await start_nodes(2)
    routes = [{"name": f"r{n}", "paths": [f"/{n}"]} for n in range(3000)]
    content = json.dumps({"_format_version": "3.0", "routes": routes})
    syncing = asyncio.create_task(sync(one, http, content))
    while (await one.admin("GET", "/config/progress")).json()["progress"] is None:
        pass
    await one.kill()
    await asyncio.gather(syncing, return_exceptions=True)
    done = await sync(two, http, content)
    counts = done.json()["counts"]
    assert counts["create"] in (0, 3000)
    assert counts["create"] + counts["unchanged"] == 3000

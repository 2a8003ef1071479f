"""`/config`: the whole configuration in one request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import yaml

from gateway.admin import config
from gateway.declarative.process import ProcessError
from gateway.store.store import Store

from .conftest import StandingNode, client_of, created

SERVICE = {"name": "orders", "host": "orders.test"}
DOCUMENT = {"_format_version": "3.0", "services": [SERVICE]}
VERSION = "X-Gateway-Config-Version"


async def test_a_configuration_is_written_and_read(client: httpx.AsyncClient) -> None:
    done = await client.post("/config", json=DOCUMENT)
    assert (done.status_code, done.headers[VERSION]) == (200, "1")
    assert done.headers["content-type"] == "application/json; charset=utf-8"
    told = done.json()
    assert told["dry_run"] is False
    assert told["counts"] == {"create": 1, "update": 0, "delete": 0, "unchanged": 0}
    assert (await client.get("/services/orders")).json()["host"] == "orders.test"

    read = await client.get("/config")
    assert read.status_code == 200
    assert VERSION not in read.headers
    document = yaml.safe_load(read.json()["config"])
    assert document["_format_version"] == "3.0"
    assert document["_transform"] is False
    assert [service["name"] for service in document["services"]] == ["orders"]
    as_json = await client.get("/config?format=json")
    assert json.loads(as_json.json()["config"]) == document
    again = await client.post("/config", json={"config": read.json()["config"]})
    assert (again.headers[VERSION], again.json()["differences"]) == ("1", [])


@pytest.mark.parametrize(
    "request_",
    [
        {"json": DOCUMENT},
        {"json": {"config": yaml.dump(DOCUMENT)}},
        {"json": {"config": json.dumps(DOCUMENT)}},
        {"content": yaml.dump(DOCUMENT), "headers": {"content-type": "application/yaml"}},
        {"content": yaml.dump(DOCUMENT), "headers": {"content-type": "text/yaml; charset=utf-8"}},
        {"data": {"config": yaml.dump(DOCUMENT)}},
        {"files": {"config": ("kong.yml", yaml.dump(DOCUMENT))}},
    ],
)
async def test_the_file_comes_in_every_form_that_kong_takes(
    request_: dict[str, Any], client: httpx.AsyncClient
) -> None:
    done = await client.post("/config?dry_run=1", **request_)
    assert (done.status_code, done.json()["counts"]["create"]) == (200, 1), done.text


async def test_a_dry_run_tells_the_differences_and_writes_nothing(
    client: httpx.AsyncClient,
) -> None:
    await created(client, "/services", **SERVICE)
    changed = {"_format_version": "3.0", "services": [{**SERVICE, "port": 81}]}
    found = await client.post("/config?dry_run=1", json=changed)
    assert found.status_code == 200
    assert VERSION not in found.headers
    assert found.json()["dry_run"] is True
    (difference,) = found.json()["differences"]
    assert difference["fields"] == {"port": {"from": 80, "to": 81}}
    assert (await client.get("/services/orders")).json()["port"] == 80


async def test_only_what_has_the_selected_tags_is_about(client: httpx.AsyncClient) -> None:
    await created(client, "/services", name="shared", host="shared.test")
    done = await client.post("/config?select_tag=a&select_tag=b", json=DOCUMENT)
    assert done.json()["counts"] == {"create": 1, "update": 0, "delete": 0, "unchanged": 0}
    assert (await client.get("/services/orders")).json()["tags"] == ["a", "b"]
    read = await client.get("/config?select_tag=a&format=json")
    services = json.loads(read.json()["config"])["services"]
    assert [service["name"] for service in services] == ["orders"]


@pytest.mark.parametrize(
    "query", ["select_tag=a,b", "dry_run=perhaps", "flatten_errors=x", "select_tag="]
)
async def test_options_that_mean_nothing_are_refused(query: str, client: httpx.AsyncClient) -> None:
    refused = await client.post(f"/config?{query}", json=DOCUMENT)
    assert (refused.status_code, refused.json()["code"]) == (400, 11)
    assert (await client.get("/config?format=toml")).json()["code"] == 11


async def test_what_is_wrong_is_told_as_kong_tells_it(client: httpx.AsyncClient) -> None:
    broken = {**DOCUMENT, "services": [SERVICE, {"name": "bad", "host": "h", "port": "x"}]}
    refused = await client.post("/config", json=broken)
    assert refused.status_code == 400
    assert VERSION not in refused.headers
    told = refused.json()
    assert told["text"].splitlines() == [
        "in 'services':",
        "  - in entry 2 of 'services' (bad):",
        "    in 'port': expected an integer",
    ]
    assert {key: told[key] for key in told.keys() - {"text"}} == {
        "code": 14,
        "name": "invalid declarative configuration",
        "message": 'declarative config is invalid: {services={[2]={port="expected an integer"}}}',
        "fields": {"services": [None, {"port": "expected an integer"}]},
    }
    flattened = await client.post("/config?flatten_errors=1", json=broken)
    assert flattened.json()["flattened_errors"] == [
        {
            "entity_type": "service",
            "entity_name": "bad",
            "entity": {"name": "bad", "host": "h", "port": "x"},
            "errors": [{"type": "field", "field": "port", "message": "expected an integer"}],
        }
    ]
    assert (await client.get("/services")).json()["data"] == []


@pytest.mark.parametrize(
    ("content", "content_type", "reason"),
    [
        (b"a: b: c", "text/yaml", "line 1, column 5"),
        (b'{"a": 1, "a": 2}', "application/json", 'key "a" appears twice'),
        (b"\xff", "text/yaml", "not UTF-8 at byte 1"),
        (b"", "application/yaml", "the file is empty"),
        (b"conf=x", "application/x-www-form-urlencoded", "the form has no field 'config'"),
        (b"--x--", "multipart/form-data; boundary=x", "the form has no field 'config'"),
        (b"x", "multipart/form-data", "the form has no field 'config'"),
        (b'{"config": "a: b: c"}', "application/json", "line 1, column 5"),
        (b'"text"', "application/json", "_format_version"),
    ],
)
async def test_what_is_no_file_is_refused(
    content: bytes, content_type: str, reason: str, client: httpx.AsyncClient
) -> None:
    headers = {"content-type": content_type}
    refused = await client.post("/config", content=content, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, 14), refused.text
    assert reason in refused.json()["message"]


async def test_yaml_is_for_this_path_alone(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/yaml"}
    assert (await client.post("/services", content=b"a: b", headers=headers)).status_code == 415
    headers = {"content-type": "text/plain"}
    assert (await client.post("/config", content=b"a: b", headers=headers)).status_code == 415


async def test_a_body_has_its_limit(node: StandingNode, store: Store) -> None:
    node.settings = node.settings.model_copy(update={"admin_body_limit_bytes": 20})
    async with client_of(store, node) as client:
        refused = await client.post("/config", json=DOCUMENT)
    assert refused.status_code == 413


# -- one at a time, in time


async def working(client: httpx.AsyncClient) -> None:
    """Wait until the node works on a configuration."""
    progress = None
    while progress is None:
        progress = (await client.get("/config/progress")).json()["progress"]


async def test_a_second_one_is_told_to_come_back(client: httpx.AsyncClient, store: Store) -> None:
    assert (await client.get("/config/progress")).json() == {"progress": None}
    async with store.write():  # so that the first has to wait
        first = asyncio.create_task(client.post("/config", json=DOCUMENT))
        await working(client)
        for ask in (client.post("/config", json=DOCUMENT), client.get("/config")):
            second = await ask
            assert second.status_code == 429
            assert second.json() == {"message": "Currently loading previous configuration"}
            assert int(second.headers["retry-after"]) > 0
    assert (await first).status_code == 200
    assert (await client.get("/config/progress")).json() == {"progress": None}
    assert (await client.post("/config", json=DOCUMENT)).status_code == 200


async def test_one_that_takes_too_long_is_ended(node: StandingNode, store: Store) -> None:
    node.settings = node.settings.model_copy(update={"admin_timeout_s": 1.0})
    async with client_of(store, node) as client:
        async with store.write():  # so that it has to wait
            late = await client.post("/config", json=DOCUMENT)
        assert late.status_code == 504
        assert late.json()["message"].startswith("Timed out while loading configuration")
        assert (await client.get("/config/progress")).json() == {"progress": None}


async def test_a_database_that_is_away_is_told(node: StandingNode, store: Store) -> None:
    away = {"database_url": "postgresql://me:hunter2@127.0.0.1:1/d"}
    node.settings = type(node.settings)(**away, node_name="node-0")
    async with client_of(store, node) as client:
        for ask in (client.post("/config", json=DOCUMENT), client.get("/config")):
            answer = await ask
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert "hunter2" not in answer.text


async def test_a_process_that_dies_is_an_error_of_ours(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> None:
        raise ProcessError("exit code -9: it said nothing")

    monkeypatch.setattr(config, "run", die)
    answer = await client.post("/config", json=DOCUMENT)
    assert answer.status_code == 500
    assert answer.json() == {"message": "An unexpected error occurred"}

"""Schemas, and validation without a write."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.entities import ENTITIES

Client = httpx.AsyncClient

ID = "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"
VALID = {"message": "schema validation successful"}


@pytest.mark.parametrize("table", ENTITIES)
async def test_every_entity_has_a_schema(client: Client, table: str):
    response = await client.get(f"/schemas/{table}")
    assert response.status_code == 200
    names = [name for field in response.json()["fields"] for name in field]
    assert names == list(ENTITIES[table].model.model_fields)


async def test_a_plugin_has_a_schema(client: Client):
    schema = (await client.get("/schemas/plugins/quota")).json()
    (config,) = (field["config"] for field in schema["fields"] if "config" in field)
    assert config["fields"][0]["unit"]["required"] is True
    old = (await client.get("/plugins/schema/quota")).json()
    assert old["fields"] == config["fields"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/schemas/nope", "No entity named 'nope'"),
        ("/schemas/Services", "No entity named 'Services'"),
        ("/schemas/plugins/nope", "No plugin named 'nope'"),
        ("/plugins/schema/nope", "No plugin named 'nope'"),
    ],
)
async def test_what_is_not_there_has_no_schema(client: Client, path: str, message: str):
    response = await client.get(path)
    assert (response.status_code, response.json()) == (404, {"message": message})


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/schemas/services/validate", {"host": "a"}),
        ("/schemas/services/validate", {"url": "http://a/b"}),
        ("/schemas/routes/validate", {"paths": ["/"], "service": {"id": ID}}),
        ("/schemas/targets/validate", {"target": "a:1", "upstream": {"id": ID}}),
        ("/schemas/plugins/validate", {"name": "quota", "config": {"unit": "request"}}),
    ],
)
async def test_what_would_be_accepted_is_valid(client: Client, path: str, given: dict[str, Any]):
    response = await client.post(path, json=given)
    assert (response.status_code, response.json()) == (200, VALID)


@pytest.mark.parametrize(
    ("path", "given", "fields"),
    [
        ("/schemas/services/validate", {}, {"host": "required field missing"}),
        (
            "/schemas/services/validate",
            {"host": "a", "port": "80"},
            {"port": "expected an integer"},
        ),
        ("/schemas/services/validate", {"url": 1}, {"url": "expected a string"}),
        ("/schemas/targets/validate", {"target": "a"}, {"upstream": "required field missing"}),
        ("/schemas/plugins/validate", {}, {"name": "required field missing"}),
        (
            "/schemas/plugins/validate",
            {"name": "quota"},
            {"config": {"unit": "required field missing"}},
        ),
    ],
)
async def test_what_would_be_refused_is_told(
    client: Client, path: str, given: dict[str, Any], fields: dict[str, Any]
):
    response = await client.post(path, json=given)
    assert (response.status_code, response.json()["code"]) == (400, 2)
    assert response.json()["fields"] == fields


async def test_names_that_are_taken_and_references_to_nothing_are_valid(client: Client):
    await client.post("/services", json={"name": "orders", "host": "a"})
    again = await client.post("/schemas/services/validate", json={"name": "orders", "host": "a"})
    assert again.json() == VALID
    nowhere = {"name": "r", "paths": ["/"], "service": {"name": "nowhere"}}
    assert (await client.post("/schemas/routes/validate", json=nowhere)).json() == VALID


async def test_nothing_is_written(client: Client):
    await client.post("/schemas/services/validate", json={"name": "orders", "host": "a"})
    assert (await client.get("/services")).json()["data"] == []


async def test_the_query_counts_as_well_but_the_body_more(client: Client):
    path = "/schemas/services/validate"
    assert (await client.post(f"{path}?host=a&port=80")).json() == VALID
    assert (await client.post(f"{path}?port=x", json={"host": "a", "port": 80})).json() == VALID
    refused = await client.post(f"{path}?port=x", json={"host": "a"})
    assert refused.json()["fields"] == {"port": "expected an integer"}


async def test_a_form_is_read(client: Client):
    response = await client.post("/schemas/services/validate", data={"host": "a", "port": "80"})
    assert response.json() == VALID


async def test_a_form_for_a_plugin_is_read_as_it_declares(client: Client):
    path, form = "/schemas/plugins/validate", {"name": "quota", "config.unit": "request"}
    assert (await client.post(path, data=form | {"config.minute": "5"})).json() == VALID
    assert (await client.post(path, params=form | {"config.minute": "5"})).json() == VALID
    refused = await client.post(path, data=form | {"config.minute": "x"})
    assert refused.json()["fields"] == {"config": {"minute": "expected an integer"}}


async def test_what_is_no_entity_cannot_be_valid(client: Client):
    response = await client.post("/schemas/nope/validate", json={})
    assert (response.status_code, response.json()) == (404, {"message": "No entity named 'nope'"})

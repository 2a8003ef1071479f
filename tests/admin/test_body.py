"""Request bodies: what is taken, what is refused, and with which words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.settings import NodeSettings
from gateway.store.store import Store

from .conftest import StandingNode, client_of, created

Client = httpx.AsyncClient
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"[]", "expected an object"),
        (b'"x"', "expected an object"),
        (b'{"host":"a","host":"b"}', 'key "host" appears twice'),
        (b'{"healthchecks":{"active":1,"active":2}}', 'key "active" appears twice'),
        (b'{"host":"\xff"}', "not UTF-8 at byte 10"),
        (b'{"port":NaN}', "NaN is no JSON value"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
async def test_json_that_cannot_be_read_is_refused_with_the_reason(
    client: Client, body: bytes, reason: str
):
    response = await client.post("/services", content=body, headers=JSON)
    assert response.status_code == 400
    assert response.json() == {"message": "Cannot parse JSON body", "reason": reason}


async def test_a_number_too_long_to_read_is_refused(client: Client):
    body = b'{"host":"a","port":' + b"9" * 5000 + b"}"
    response = await client.post("/services", content=body, headers=JSON)
    assert (response.status_code, response.json()["message"]) == (400, "Cannot parse JSON body")


async def test_an_empty_body_is_no_json_unless_it_says_so(client: Client):
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    explicit = await client.put("/upstreams/pool", content=b"", headers=JSON)
    assert explicit.status_code == 200
    silent = await client.post("/upstreams", content=nothing(), headers=JSON)
    assert (silent.status_code, silent.json()["message"]) == (400, "Cannot parse JSON body")


@pytest.mark.parametrize("content_type", ["text/plain", "APPLICATION/JSON", "application/yaml", ""])
async def test_other_types_are_refused_even_where_the_method_is_too(
    client: Client, content_type: str
):
    for method, path in (("POST", "/services"), ("PUT", "/services"), ("PATCH", "/services/x")):
        response = await client.request(
            method, path, content=b"{}", headers={"Content-Type": content_type}
        )
        assert response.status_code == 415
        assert "application/json" in response.json()["message"]


async def test_a_body_without_a_type_is_refused_but_no_body_is_empty(client: Client):
    request = client.build_request("POST", "/services", content=b"{}")
    assert "content-type" not in request.headers
    assert (await client.send(request)).status_code == 415
    assert (await client.put("/upstreams/pool")).status_code == 200


async def test_two_content_types_are_refused(client: Client):
    headers = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    response = await client.post("/services", content=b"{}", headers=headers)
    assert (response.status_code, response.json()) == (
        400,
        {"message": "Multiple Content-Type headers not allowed"},
    )


async def test_a_body_over_the_limit_is_refused_announced_or_not(store: Store, database_url: str):
    settings = NodeSettings(database_url=database_url, admin_body_limit_bytes=100)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10

    async with client_of(store, StandingNode(settings)) as client:
        for content in (b" " * 101, chunks()):
            response = await client.post("/services", content=content, headers=JSON)
            assert response.status_code == 413
            assert "100 bytes" in response.json()["message"]
        assert (await client.post("/services", json={"host": "a"})).status_code == 201


async def test_a_route_sent_as_a_form(client: Client):
    service = await created(client, "/services", name="orders", host="a")
    body = (
        "name=orders-r&service.name=orders&paths[]=/orders&methods=GET&methods=POST"
        "&tags=team-a&strip_path=false&regex_priority=7&hosts=&headers.x-tier[1]=gold"
    )
    response = await client.post("/routes", content=body.encode(), headers=FORM)
    assert response.status_code == 201
    expected: dict[str, Any] = {
        "name": "orders-r",
        "service": {"id": service["id"]},
        "paths": ["/orders"],
        "methods": ["GET", "POST"],
        "tags": ["team-a"],
        "strip_path": False,
        "regex_priority": 7,
        "hosts": None,
        "headers": {"x-tier": ["gold"]},
    }
    assert expected.items() <= response.json().items()


async def test_a_service_sent_as_multipart(client: Client):
    response = await client.post(
        "/services",
        data={"name": "orders", "port": "81", "tags": ["a", "b"]},
        files={"host": ("host.txt", b"orders.internal")},
    )
    assert response.status_code == 201
    service = response.json()
    assert (service["host"], service["port"]) == ("orders.internal", 81)
    assert service["tags"] == ["a", "b"]


async def test_a_form_value_of_the_wrong_type_is_told_as_such(client: Client):
    response = await client.post("/services", data={"host": "a", "port": "x", "enabled": "yes"})
    assert response.json()["fields"] == {
        "port": "expected an integer",
        "enabled": "expected a boolean",
    }


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"host=%ff", FORM, "Cannot parse form body"),
        (b"host=\xff", FORM, "Cannot parse form body"),
        ("&".join(f"a{i}=1" for i in range(1001)).encode(), FORM, "Too many arguments"),
        (b"x", {"Content-Type": "multipart/form-data"}, "Cannot parse form body"),
        (b"x", {"Content-Type": "multipart/form-data; boundary=b"}, "Cannot parse form body"),
    ],
)
async def test_forms_that_cannot_be_read_are_refused(
    client: Client, body: bytes, headers: dict[str, str], message: str
):
    response = await client.post("/services", content=body, headers=headers)
    assert (response.status_code, response.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\x00b", "must not contain the NUL character"),
        ("\ud800", "invalid utf-8 character sequence detected at position 1"),
    ],
)
async def test_text_that_postgresql_cannot_hold_is_told_by_field(
    client: Client, text: str, problem: str
):
    body = json.dumps({"host": "a", "name": text, "tags": [text]}).encode()
    response = await client.post("/services", content=body, headers=JSON)
    assert (response.status_code, response.json()["fields"]) == (
        400,
        {"name": problem, "tags": [problem]},
    )

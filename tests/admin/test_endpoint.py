"""What holds for every path: methods, trailing slashes, headers common to all answers."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway import __version__
from gateway.settings import Compat, NodeSettings
from gateway.store.store import Store

from .conftest import StandingNode, client_of, created

Client = httpx.AsyncClient


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/services", "GET, HEAD, OPTIONS, POST"),
        ("/services/nope", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/routes/nope/service", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/upstreams/nope/targets", "GET, HEAD, OPTIONS, POST"),
        ("/upstreams/nope/targets/all", "GET, HEAD, OPTIONS"),
        ("/status", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_tells_the_methods_of_a_path(client: Client, path: str, methods: str):
    response = await client.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Allow"] == methods
    assert response.headers["Access-Control-Allow-Methods"] == methods
    assert response.headers["Access-Control-Allow-Headers"] == "Content-Type"


async def test_options_agrees_to_the_headers_a_browser_asks_for(client: Client):
    asked = {"Access-Control-Request-Headers": "x-a, x-b"}
    response = await client.options("/services", headers=asked)
    assert response.headers["Access-Control-Allow-Headers"] == "x-a, x-b"


async def test_head_is_get_without_the_body(client: Client):
    await created(client, "/services", name="orders", host="a")
    for path in ("/services", "/services/orders", "/"):
        got, head = await client.get(path), await client.head(path)
        assert head.status_code == got.status_code
        assert head.content == b""
        assert head.headers["Content-Type"] == "application/json; charset=utf-8"
        assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert (await client.head("/services/nope")).status_code == 404


async def test_one_trailing_slash_makes_no_difference(client: Client):
    service = await created(client, "/services/", name="orders", host="a")
    assert (await client.get("/services/orders/")).json() == service
    assert (await client.get("/services/orders//")).status_code == 404


async def test_an_encoded_slash_is_part_of_its_segment(client: Client):
    response = await client.get("/services/a%2Froutes")
    assert (response.status_code, response.json()["code"]) == (400, 10)
    assert "'a/routes'" in response.json()["message"]


async def test_a_path_that_is_not_utf8_is_refused(client: Client):
    response = await client.get("/services/%ff")
    assert (response.status_code, response.json()) == (400, {"message": "the path is not UTF-8"})


async def test_every_answer_has_the_common_headers(client: Client):
    for response in (
        await client.get("/services"),
        await client.get("/nope"),
        await client.post("/services", json={}),
        await client.options("/services"),
        await client.get("/%ff"),
    ):
        assert response.headers["Server"] == f"gateway/{__version__}"
        assert int(response.headers["X-Gateway-Admin-Latency"]) >= 0
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        if response.content:
            assert response.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_the_asking_origin_is_named(client: Client):
    response = await client.get("/services", headers={"Origin": "http://console.test"})
    assert response.headers["Access-Control-Allow-Origin"] == "http://console.test"


async def test_with_compat_kong_the_headers_are_kongs(store: Store, database_url: str):
    settings = NodeSettings(database_url=database_url, compat=Compat.KONG)
    async with client_of(store, StandingNode(settings)) as client:
        response = await client.post("/services", json={"host": "a"})
    assert response.headers["Server"] == "kong/3.9.3"
    assert "X-Kong-Admin-Latency" in response.headers
    assert "X-Gateway-Admin-Latency" not in response.headers
    assert int(response.headers["X-Gateway-Config-Version"]) > 0


async def test_a_write_that_has_to_wait_too_long_is_told_to_come_back(
    store: Store, database_url: str
):
    settings = NodeSettings(database_url=database_url, admin_timeout_s=0.2)
    async with client_of(store, StandingNode(settings)) as client:
        async with store.write():
            response = await asyncio.wait_for(client.post("/services", json={"host": "a"}), 10)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert response.json() == {"message": "the Admin API could not finish in time"}
        assert (await client.get("/services")).json()["data"] == []

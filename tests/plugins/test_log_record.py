"""The log object: what it tells of a request, and which secrets it keeps."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from starlette.responses import Response as Answer

from gateway.access_log import Record
from gateway.plugins.contract import NodeServices, Plugin
from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.log_record import LogRecords
from gateway.plugins.request import Request
from gateway.testing import Serving
from tests.plugins.token_maker import token

TOLD: list[bytes] = []


class Telling(Plugin):
    name = "telling"
    priority = 1

    @classmethod
    def share(cls, node: NodeServices) -> LogRecords:
        return LogRecords(node.settings)

    def access(self, request: Request) -> None:
        request.context["correlation_id"] = "c"

    def log(self, request: Request, record: Record) -> None:
        TOLD.append(self.shared.entry(request, record))
        assert self.shared.entry(request, record) is TOLD[-1]  # it is written once


async def told(gateway: Serving, method: str, path: str, **further: Any) -> dict[str, Any]:
    TOLD.clear()
    async with gateway:
        await gateway.ask(method, path, **further)
    found: dict[str, Any] = json.loads(TOLD[0])
    return found


async def test_a_proxied_request():
    gateway = Serving(Telling)
    gateway.service.answer = Answer(b"ok", headers={"X-A": "1"})
    before = time.time()
    path = "/a%20b?x=1&x=2&flag&y=%C3%A9"
    headers = [("X-Twice", "1"), ("x-twice", "2"), ("Host", "a.test")]
    found = await told(gateway, "POST", path, content=b"body", headers=headers)
    request, response = found["request"], found["response"]
    assert before * 1000 - 1 <= found["started_at"] <= time.time() * 1000
    assert (request["method"], request["uri"]) == ("POST", path)
    assert request["url"].startswith("http://a.test:")
    assert request["url"].endswith(path)
    assert request["querystring"] == {"x": ["1", "2"], "flag": True, "y": "é"}
    assert request["headers"]["x-twice"] == ["1", "2"]
    assert request["size"] > 4
    assert response["status"] == 200
    assert response["headers"]["x-a"] == "1"
    assert found["upstream_uri"] == path
    assert found["upstream_status"] == "200"
    assert set(found["latencies"]) == {"request", "gateway", "proxy", "receive"}
    assert found["latencies"]["proxy"] >= 0
    assert (found["source"], found["client_ip"]) == ("upstream", "127.0.0.1")
    assert (found["route"]["name"], found["service"]["name"]) == ("all", "orders")
    assert found["tries"][0]["ip"] == "127.0.0.1"
    assert found["correlation_id"] == "c"
    assert found["workspace_name"] == "default"
    assert {"consumer", "authenticated_entity"}.isdisjoint(found)


async def test_a_service_that_cannot_be_reached():
    gateway = Serving(Telling, {"compat": "kong"})
    gateway.target |= {"port": 1, "retries": 1}
    found = await told(gateway, "GET", "/")
    assert found["source"] == "kong"
    assert "kong" in found["latencies"]
    assert found["upstream_status"] == "502, 502"
    assert [(entry["state"], entry["code"]) for entry in found["tries"]] == [("failed", 502)] * 2


@pytest.mark.parametrize(
    ("path", "headers", "shown"),
    [
        ("/?apikey=s%33cret&a=1", {}, "/?apikey=REDACTED&a=1"),
        ("/?a=1", {"apikey": "s3cret"}, "/?a=1"),
    ],
)
async def test_secrets(path: str, headers: dict[str, str], shown: str):
    gateway = Serving(Telling)
    gateway.use(KeyAuth)
    bob = gateway.consumer("bob", keyauth_credentials={"key": "s3cret"})
    gateway.service.answer = Answer(b"", headers={"Set-Cookie": "session=hidden"})
    hidden = {"Authorization": "Bearer hidden", "Cookie": "session=hidden"}
    found = await told(gateway, "GET", path, headers=headers | hidden)
    assert found["request"]["uri"] == found["upstream_uri"] == shown
    assert found["request"]["url"].endswith(shown)
    assert found["request"]["headers"]["authorization"] == "REDACTED"
    assert found["response"]["headers"]["set-cookie"] == "REDACTED"
    assert found["consumer"] == {"id": str(bob["id"]), "username": "bob"}
    assert found["authenticated_entity"]["consumer_id"] == str(bob["id"])
    assert b"s3cret" not in TOLD[0]
    assert b"s%33cret" not in TOLD[0]
    assert b"hidden" not in TOLD[0]


async def test_tokens_are_told_nowhere():
    secret = token({"iss": "k", "sub": "ada"})
    gateway = Serving(Telling)
    found = await told(gateway, "GET", f"/?jwt={secret}&a=1", headers={"X-Token": f"T {secret}"})
    assert found["request"]["uri"] == found["upstream_uri"] == "/?jwt=REDACTED&a=1"
    assert found["request"]["querystring"] == {"jwt": "REDACTED", "a": "1"}
    assert found["request"]["headers"]["x-token"] == "REDACTED"
    assert secret.encode() not in TOLD[0]


async def test_bytes_that_are_no_text():
    found = await told(Serving(Telling), "GET", "/?x=%FF", headers={"X-A": b'\xff"\\'})
    assert found["request"]["headers"]["x-a"] == '\\xff"\\'
    assert found["request"]["querystring"] == {"x": "\ufffd"}

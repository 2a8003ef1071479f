"""request-termination: what is answered in the service's place, and to whom."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from gateway.plugins.request_termination import RequestTermination
from gateway.testing import Serving
from tests.plugins.configs import problems


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"status_code": 99}, {"status_code": "value should be between 100 and 599"}),
        ({"status_code": 101}, {"status_code": "a status below 200 ends no request"}),
        (
            {"message": "a", "body": "b"},
            {"@entity": ["message cannot be used with content_type or body"]},
        ),
        ({"content_type": "text/css"}, {"@entity": ["content_type requires a body"]}),
        (
            {"echo": True, "body": "b"},
            {"@entity": ["echo cannot be used with content_type and body"]},
        ),
        (
            {"body": "b", "content_type": "a\r\nb: c"},
            {"content_type": "invalid value: a\r\nb: c"},
        ),
        (
            {"trigger": "a b"},
            {
                "trigger": "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', "
                "and '-'"
            },
        ),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(RequestTermination, config) == expected


@pytest.mark.parametrize(
    ("config", "status", "body", "content_type"),
    [
        ({}, 503, '{"message":"Service unavailable"}', "application/json; charset=utf-8"),
        (
            {"status_code": 401},
            401,
            '{"message":"Unauthorized"}',
            "application/json; charset=utf-8",
        ),
        ({"status_code": 404}, 404, '{"message":"Not found"}', "application/json; charset=utf-8"),
        (
            {"status_code": 405},
            405,
            '{"message":"Method not allowed"}',
            "application/json; charset=utf-8",
        ),
        (
            {"status_code": 500},
            500,
            '{"message":"An unexpected error occurred"}',
            "application/json; charset=utf-8",
        ),
        ({"status_code": 502}, 502, '{"message":"Bad Gateway"}', "application/json; charset=utf-8"),
        ({"status_code": 418}, 418, "", None),
        ({"status_code": 204}, 204, "", None),
        (
            {"status_code": 403, "message": "So long"},
            403,
            '{"message":"So long"}',
            "application/json; charset=utf-8",
        ),
        ({"status_code": 200, "body": "é"}, 200, "é", None),
        ({"body": "<p>", "content_type": "text/html"}, 503, "<p>", "text/html"),
    ],
)
async def test_what_is_answered(
    config: dict[str, Any], status: int, body: str, content_type: str | None
):
    async with Serving(RequestTermination, **config) as gateway:
        answer = await gateway.ask("GET", "/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.content.decode()) == (status, body)
    assert answer.headers.get("Content-Type") == content_type
    assert gateway.received == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/", {"X-Stop": ""}, 503),
        ("/?x-stop=", {}, 503),
        ("/?a=x-stop", {}, 200),
    ],
)
async def test_only_who_pulls_the_trigger_is_answered(
    path: str, headers: dict[str, str], status: int
):
    async with Serving(RequestTermination, trigger="x-stop") as gateway:
        assert (await gateway.ask("GET", path, headers=headers)).status_code == status


async def test_an_echo():
    gateway = Serving(RequestTermination, {"node_name": "n1"}, echo=True, status_code=200)
    gateway.route["paths"] = [r"~/(?<kind>\w+)/(\d+)"]
    async with gateway:
        headers = [("Host", "a.test:81"), ("X-A", "1"), ("x-a", "2"), ("B", "é".encode())]
        answer = await gateway.ask("PUT", "/shoes/7?q=1&q=2&r=", json={"a": 1}, headers=headers)
    told = answer.json()
    request = told["request"]
    assert told["message"] is None
    assert told["kong"] == {
        "node_id": "n1",
        "worker_pid": os.getpid(),
        "hostname": socket.gethostname(),
    }
    seen = request.pop("headers")
    assert (seen["x-a"], seen["host"]) == (["1", "2"], "a.test:81")
    assert request == {
        "scheme": "http",
        "host": "a.test",
        "port": 81,
        "method": "PUT",
        "path": "/shoes/7",
        "query": {"q": ["1", "2"], "r": ""},
        "body": {"a": 1},
        "raw_body": '{"a":1}',
        "uri_captures": {"named": {"kind": "shoes"}, "unnamed": ["/shoes/7", "shoes", "7"]},
    }
    assert told["matched_route"]["name"] == "all"
    assert told["matched_route"]["service"] == {"id": told["matched_service"]["id"]}
    assert (told["matched_service"]["name"], told["matched_service"]["path"]) == ("orders", "/")


@pytest.mark.parametrize(
    ("content_type", "sent", "body"),
    [
        ("application/x-www-form-urlencoded", b"a=1&b=%C3%A9&a=2", {"a": ["1", "2"], "b": "é"}),
        ("application/json; charset=utf-8", b"[" * 100_000, None),
        ("application/json", b"\xff", None),
        ("application/json", b'"\\ud800"', "\ud800"),
        ("application/json", b"1e999", None),
        ("application/json", b"1" * 5000, None),
        *(("application/json", b"[" * n + b"]" * n, ...) for n in range(900, 1000, 7)),
        ("text/plain", b"hello", None),
        ("application/json", b"", None),
    ],
)
async def test_bodies_in_an_echo(content_type: str, sent: bytes, body: Any):
    async with Serving(RequestTermination, echo=True) as gateway:
        answer = await gateway.ask(
            "POST", "/", content=sent, headers={"Content-Type": content_type}
        )
    told = answer.json()["request"]
    assert answer.status_code == 503
    assert told["raw_body"] == sent.decode(errors="replace")
    assert body in (told["body"], ...)


async def test_a_body_that_is_too_large_for_an_echo_is_left_out():
    async with Serving(RequestTermination, {"buffer_limit_bytes": 65_536}, echo=True) as gateway:
        answer = await gateway.ask("POST", "/", content=b"x" * 300_000)
    assert answer.json()["request"]["raw_body"] is None
    assert answer.json()["message"] == "Service unavailable"

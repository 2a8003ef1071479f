"""response-transformer: what of a response is changed, and what passes as it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.responses import Response, StreamingResponse
from structlog.testing import capture_logs

from gateway.plugins.contract import Plugin
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.plugins.transformers import ResponseTransformer
from gateway.testing import Serving
from tests.plugins.configs import problems

JSON = "application/json"
TYPES = ["string", "boolean", "number"]


async def answered(config: dict[str, Any], answer: Response, method: str = "GET") -> httpx.Response:
    gateway = Serving(ResponseTransformer, {"buffer_limit_bytes": 4096}, **config)
    gateway.service.answer = answer
    async with gateway:
        return await gateway.ask(method, "/")


def answer_with(*headers: tuple[str, str], body: bytes = b"") -> Response:
    made = Response(body)
    for name, value in headers:
        made.headers.append(name, value)
    return made


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"remove": {"headers": ["X-A"]}}, {"x-b": ["2"]}),
        ({"remove": {"headers": ["x-a:3"]}}, {"x-a": ["1"], "x-b": ["2"]}),
        ({"remove": {"headers": ["x-a:4"]}}, {"x-a": ["1", "3"], "x-b": ["2"]}),
        ({"rename": {"headers": ["x-a:x-b", "x-c:x-d"]}}, {"x-b": ["1", "3"]}),
        ({"replace": {"headers": ["x-a:n", "x-c:n"]}}, {"x-a": ["n"], "x-b": ["2"]}),
        ({"add": {"headers": ["x-b:n", "x-c:n"]}}, {"x-a": ["1", "3"], "x-b": ["2"], "x-c": ["n"]}),
        ({"append": {"headers": ["x-b:n"]}}, {"x-a": ["1", "3"], "x-b": ["2", "n"]}),
    ],
)
async def test_headers(config: dict[str, Any], expected: dict[str, list[str]]):
    found = await answered(config, answer_with(("X-A", "1"), ("X-B", "2"), ("x-a", "3")))
    names = {"x-a", "x-b", "x-c", "x-d"} & set(found.headers)
    assert {name: found.headers.get_list(name) for name in names} == expected


async def test_headers_alone_leave_the_body_its_length():
    answer = answer_with(("Content-Type", JSON), body=b"{}")
    found = await answered({"add": {"headers": ["x-c:n"]}}, answer)
    assert found.headers["content-length"] == "2"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"remove": {"json": ["a"]}}, {"b": 1, "c": [2]}),
        ({"rename": {"json": ["a:c", "x:y"]}}, {"c": "1", "b": 1}),
        ({"replace": {"json": ["a:n", "x:n"]}}, {"a": "n", "b": 1, "c": [2]}),
        (
            {"add": {"json": ["a:n", "x:true", "y:1.5", "z:1"], "json_types": TYPES}},
            {"a": "1", "b": 1, "c": [2], "x": True, "y": 1.5, "z": "1"},
        ),
        (
            {"append": {"json": ["a:n", "c:3", "x:1"], "json_types": ["string", "number"]}},
            {"a": ["1", "n"], "b": 1, "c": [2, 3], "x": ["1"]},
        ),
    ],
)
async def test_json(config: dict[str, Any], expected: Any):
    body = b'{"a": "1", "b": 1, "c": [2]}'
    found = await answered(config, answer_with(("Content-Type", JSON), body=body))
    assert found.json() == expected
    assert "content-length" not in found.headers


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(JSON, b'{"a": '), (JSON, b"[1]"), (JSON, b""), ("text/plain", b'{"a": 1}')],
)
async def test_what_is_no_object_passes_as_it_is(content_type: str, body: bytes):
    answer = answer_with(("Content-Type", content_type), body=body)
    found = await answered({"remove": {"json": ["a"]}}, answer)
    assert found.content == body


async def test_what_is_compressed_passes_as_it_is():
    body = gzip.compress(b'{"a": 1}')
    answer = answer_with(("Content-Type", JSON), ("Content-Encoding", "gzip"), body=body)
    assert (await answered({"remove": {"json": ["a"]}}, answer)).json() == {"a": 1}


async def test_pieces_are_put_together():
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"a', b'": 1, ', b'"b": 2}'):
            yield piece

    answer = StreamingResponse(pieces(), media_type=JSON)
    assert (await answered({"remove": {"json": ["a"]}}, answer)).json() == {"b": 2}


async def test_what_is_too_large_passes_as_it_is_and_is_told():
    body = json.dumps({"a": "1" * 5000}).encode()
    with capture_logs() as logs:
        answer = answer_with(("Content-Type", JSON), body=body)
        assert (await answered({"remove": {"json": ["a"]}}, answer)).content == body
    told = [entry for entry in logs if entry["event"].startswith("responses were not transformed")]
    assert [entry["responses"] for entry in told] == [1]


async def test_a_response_to_head_tells_no_length_that_is_no_longer_true():
    answer = answer_with(("Content-Type", JSON), body=b'{"a": 1}')
    found = await answered({"remove": {"json": ["a"]}}, answer, "HEAD")
    assert found.status_code == 200
    assert "content-length" not in found.headers


class Closed(Plugin):
    name = "closed"
    priority = 900

    def access(self, request: Request) -> Reply:
        return refuse(403, "closed")


async def test_an_answer_of_the_gateway_is_transformed_as_well():
    gateway = Serving(ResponseTransformer, rename={"json": ["message:error"]})
    gateway.use(Closed)
    async with gateway:
        answer = await gateway.ask("GET", "/", headers={"Accept": JSON})
    assert answer.status_code == 403
    assert answer.json()["error"] == "closed"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"add": {"json": ["x"]}}, {"add": {"json": ["invalid value: x"]}}),
        ({"add": {"json": ["x:"]}}, {"add": {"json": ["key 'x' has no value"]}}),
        (
            {"add": {"json": ["x:1e"], "json_types": ["number"]}},
            {"add": {"json": "'1e' is not a number"}},
        ),
        (
            {"add": {"json_types": ["null"]}},
            {"add": {"json_types": ["expected one of: boolean, number, string"]}},
        ),
        ({"add": {"headers": ["a b:1"]}}, {"add": {"headers": ["'a b' is not a valid header"]}}),
        (
            {"replace": {"headers": ["transfer-encoding:x"]}},
            {"replace": {"headers": ["transfer-encoding is written by the proxy only"]}},
        ),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(ResponseTransformer, config) == expected

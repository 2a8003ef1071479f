"""cors, asked through the gateway: preflights, and what other answers tell."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import Response as Answer

from gateway.plugins.cors import Cors
from gateway.plugins.key_auth import KeyAuth
from gateway.testing import Serving
from tests.plugins.configs import problems

A, B = "https://a.test", "https://b.test"
PREFLIGHT = {"Origin": A, "Access-Control-Request-Method": "PUT"}
ALL_METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT"
NO_METHOD = f"expected one of: {ALL_METHODS.replace(',', ', ')}"
PREFIX = "access-control-"


def told(answer: httpx.Response) -> dict[str, str]:
    """Return what an answer tells browsers, without the prefix that all of these headers have."""
    headers = answer.headers.items()
    found = {n.removeprefix(PREFIX): v for n, v in headers if n.startswith(PREFIX)}
    return found | ({"vary": answer.headers["vary"]} if "vary" in answer.headers else {})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"origins": ["*", A, "null"]}, {}),
        ({"origins": ["a("]}, {"origins": ["invalid regex: 'a(' (missing ): a()"]}),
        ({"methods": ["GET", "get"]}, {"methods": [None, NO_METHOD]}),
        ({"headers": ["a\r\nb"]}, {"headers": ["invalid value: a\r\nb"]}),
        ({"exposed_headers": ["é"]}, {"exposed_headers": ["invalid value: é"]}),
        ({"max_age": "1"}, {"max_age": "expected a number"}),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(Cors, config) == expected


ANY_ONE = {"allow-origin": "*", "allow-methods": ALL_METHODS}


@pytest.mark.parametrize(
    ("config", "headers", "expected"),
    [
        ({}, {}, ANY_ONE),
        ({"origins": []}, {}, ANY_ONE),
        ({"origins": ["*"]}, {}, ANY_ONE),
        (
            {"credentials": True},
            {},
            ANY_ONE | {"allow-origin": A, "allow-credentials": "true", "vary": "Origin"},
        ),
        (
            {"origins": [B], "credentials": True},
            {},
            ANY_ONE | {"allow-origin": B, "allow-credentials": "true", "vary": "Origin"},
        ),
        ({"origins": [A, B]}, {}, ANY_ONE | {"allow-origin": A, "vary": "Origin"}),
        (
            {"origins": [B, r".*\.c\.test"]},
            {},
            {"allow-methods": ALL_METHODS, "vary": "Origin"},
        ),
        ({"origins": [B, "*"]}, {}, ANY_ONE | {"vary": "Origin"}),
        ({"methods": ["GET", "PUT"]}, {}, ANY_ONE | {"allow-methods": "GET,PUT"}),
        ({"headers": ["X-A", "X-B"]}, {}, ANY_ONE | {"allow-headers": "X-A,X-B"}),
        (
            {"headers": ["X-A"]},
            {"Access-Control-Request-Headers": "X-C"},
            ANY_ONE | {"allow-headers": "X-A"},
        ),
        (
            {},
            {"Access-Control-Request-Headers": "X-C, X-D"},
            ANY_ONE | {"allow-headers": "X-C, X-D"},
        ),
        ({"max_age": 600}, {}, ANY_ONE | {"max-age": "600"}),
        ({"exposed_headers": ["X-A"]}, {}, ANY_ONE),
        ({"private_network": True}, {}, ANY_ONE),
        ({}, {"Access-Control-Request-Private-Network": "true"}, ANY_ONE),
        (
            {"private_network": True},
            {"Access-Control-Request-Private-Network": "true"},
            ANY_ONE | {"allow-private-network": "true"},
        ),
    ],
)
async def test_preflights(
    config: dict[str, Any], headers: dict[str, str], expected: dict[str, str]
):
    gateway = Serving(Cors, **config)
    gateway.use(KeyAuth)  # which would ask for a key
    async with gateway:
        answer = await gateway.ask("OPTIONS", "/", headers=PREFLIGHT | headers)
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "0")
    assert told(answer) == expected
    assert gateway.received == []


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {}),
        ("OPTIONS", {"Origin": A}),
        ("OPTIONS", {"Access-Control-Request-Method": "PUT"}),
        ("GET", PREFLIGHT),
    ],
)
async def test_what_is_no_preflight_goes_to_the_service(method: str, headers: dict[str, str]):
    async with Serving(Cors) as gateway:
        answer = await gateway.ask(method, "/", headers=headers)
    assert told(answer) == {"allow-origin": "*"}
    assert len(gateway.received) == 1


async def test_the_service_may_answer_preflights_itself():
    async with Serving(Cors, preflight_continue=True) as gateway:
        gateway.service.answer = Answer(status_code=204, headers={f"{PREFIX}allow-origin": B})
        answer = await gateway.ask("OPTIONS", "/", headers=PREFLIGHT)
    assert (answer.status_code, told(answer)) == (204, {"allow-origin": B})


async def test_a_route_that_is_not_for_options_meets_no_preflight():
    gateway = Serving(Cors)
    gateway.route["methods"] = ["GET"]
    async with gateway:
        answer = await gateway.ask("OPTIONS", "/", headers=PREFLIGHT)
    assert (answer.status_code, told(answer)) == (404, {"allow-origin": "*"})


@pytest.mark.parametrize(
    ("config", "origin", "expected"),
    [
        ({}, None, {"allow-origin": "*"}),
        ({}, A, {"allow-origin": "*"}),
        ({"origins": ["*"]}, A, {"allow-origin": "*"}),
        ({"credentials": True}, None, {"allow-origin": "*"}),
        (
            {"credentials": True},
            A,
            {"allow-origin": A, "allow-credentials": "true", "vary": "Origin"},
        ),
        ({"origins": [B]}, A, {"allow-origin": B, "vary": "Origin"}),
        ({"origins": [A, B]}, B, {"allow-origin": B, "vary": "Origin"}),
        ({"origins": [A, B]}, None, {"vary": "Origin"}),
        ({"origins": [A, B]}, "https://c.test", {"vary": "Origin"}),
        ({"origins": [A, "*"]}, "https://c.test", {"allow-origin": "*", "vary": "Origin"}),
        (
            {"exposed_headers": ["X-A", "X-B"]},
            A,
            {"allow-origin": "*", "expose-headers": "X-A,X-B"},
        ),
        ({"methods": ["GET"], "headers": ["X-A"], "max_age": 5}, A, {"allow-origin": "*"}),
        ({"allow_origin_absent": False, "origins": [B]}, None, {}),
        ({"allow_origin_absent": False}, A, {"allow-origin": "*"}),
    ],
)
async def test_other_answers(config: dict[str, Any], origin: str | None, expected: dict[str, str]):
    async with Serving(Cors, **config) as gateway:
        headers = {} if origin is None else {"Origin": origin}
        answer = await gateway.ask("GET", "/", headers=headers)
    assert told(answer) == expected


@pytest.mark.parametrize(
    ("config", "theirs", "expected"),
    [
        ({}, {"access-control-allow-origin": B}, {"allow-origin": "*"}),
        ({"origins": [A, B]}, {"Access-Control-Allow-Origin": "*"}, {"vary": "Origin"}),
        (
            {},
            {"Access-Control-Allow-Credentials": "true"},
            {"allow-origin": "*", "allow-credentials": "true"},
        ),
        (
            {"exposed_headers": ["X-A"]},
            {"Access-Control-Expose-Headers": "X-B"},
            {"allow-origin": "*", "expose-headers": "X-A"},
        ),
        ({"origins": [B]}, {"Vary": "Accept"}, {"allow-origin": B, "vary": "Accept, Origin"}),
        (
            {"origins": [B]},
            {"Vary": "Accept,origin"},
            {"allow-origin": B, "vary": "Accept,origin"},
        ),
    ],
)
async def test_what_the_service_tells_is_replaced(
    config: dict[str, Any], theirs: dict[str, str], expected: dict[str, str]
):
    async with Serving(Cors, **config) as gateway:
        gateway.service.answer = Answer("hello", headers=theirs)
        answer = await gateway.ask("GET", "/")
    assert told(answer) == expected


async def test_errors_tell_as_well():
    gateway = Serving(Cors)
    gateway.use(KeyAuth)
    gateway.route["paths"] = ["/here"]
    async with gateway:
        without_key = await gateway.ask("GET", "/here")
        without_route = await gateway.ask("GET", "/there")
    assert (without_key.status_code, told(without_key)) == (401, {"allow-origin": "*"})
    assert (without_route.status_code, told(without_route)) == (404, {"allow-origin": "*"})


async def test_an_upstream_that_is_not_there_tells_as_well():
    gateway = Serving(Cors)
    gateway.target |= {"port": 9, "retries": 0}
    async with gateway:
        answer = await gateway.ask("GET", "/")
    assert (answer.status_code, told(answer)) == (502, {"allow-origin": "*"})


@pytest.mark.parametrize("origin", [b"\xff\xfe", b"https://" + b"a" * 5000, b"://:0", b""])
async def test_garbage_is_no_origin(origin: bytes):
    async with Serving(Cors, origins=[A, r".*\.b\.test"], credentials=True) as gateway:
        for method in ("GET", "OPTIONS"):
            headers = [("Origin", origin), ("Access-Control-Request-Method", b"\xff")]
            answer = await gateway.ask(method, "/", headers=headers)
            assert answer.status_code == 200
            assert "allow-origin" not in told(answer)

"""correlation-id: which id a request has, and who is told."""

from __future__ import annotations

import os
import re
from typing import Any
from uuid import UUID

import pytest
from starlette.responses import Response as Answer

from gateway.plugins.contract import Plugin
from gateway.plugins.correlation_id import CorrelationId
from gateway.plugins.reply import Reply, reply_json
from gateway.plugins.request import Request
from gateway.testing import Serving
from tests.plugins.configs import problems

NAME = "Kong-Request-ID"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"generator": "luck"}, {"generator": "expected one of: uuid, uuid#counter, tracker"}),
        (
            {"header_name": "Connection"},
            {"header_name": "Connection is written by the proxy only"},
        ),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(CorrelationId, config) == expected


async def ids(**config: Any) -> list[str]:
    """Return the ids that two requests on one connection reach the service with."""
    async with Serving(CorrelationId, **config) as gateway:
        for _ in range(2):
            answer = await gateway.ask("GET", "/")
            assert NAME not in answer.headers
    return [got.headers[NAME] for got in gateway.received]


async def test_uuid_and_counter():
    first, second = await ids()
    prefix, number = first.split("#")
    assert UUID(prefix).version == 4
    assert (number, second) == ("1", f"{prefix}#2")


async def test_uuid():
    first, second = await ids(generator="uuid")
    assert first != second
    assert UUID(first).version == UUID(second).version == 4


async def test_tracker():
    first, second = (
        re.fullmatch(r"127\.0\.0\.1-(\d+)-(\d+)-(\d+)-(\d+)-(\d+\.\d{3})", id_)
        for id_ in await ids(generator="tracker")
    )
    assert first is not None
    assert second is not None
    assert int(first[2]) == os.getpid()
    assert first.groups()[:3] == second.groups()[:3]
    assert (first[4], second[4]) == ("1", "2")


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [([], False), ([(NAME, "")], False), ([(NAME, "mine")], True), ([(NAME, b"\xff")], True)],
)
async def test_an_id_that_is_there_is_kept(sent: list[tuple[str, Any]], *, is_kept: bool):
    async with Serving(CorrelationId, echo_downstream=True) as gateway:
        answer = await gateway.ask("GET", "/", headers=sent)
    found = gateway.received[0].headers.get_list(NAME)
    assert len(found) == 1
    assert answer.headers.get_list(NAME) == found
    raw = dict(answer.headers.raw)[NAME.encode()]
    assert (raw in (b"mine", b"\xff")) == is_kept


async def test_another_header():
    async with Serving(CorrelationId, header_name="X-Trace", echo_downstream=True) as gateway:
        gateway.service.answer = Answer("hello", headers={"x-trace": "theirs"})
        answer = await gateway.ask("GET", "/")
    assert answer.headers.get_list("X-Trace") == [gateway.received[0].headers["X-Trace"]]


@pytest.mark.parametrize("sent", [{}, {NAME: "mine"}])
async def test_a_request_without_a_route_has_one_too(sent: dict[str, str]):
    gateway = Serving(CorrelationId, echo_downstream=True)
    gateway.route["paths"] = ["/elsewhere"]
    async with gateway:
        answer = await gateway.ask("GET", "/", headers=sent)
    assert answer.status_code == 404
    assert answer.headers[NAME] == "mine" if sent else answer.headers[NAME].endswith("#1")


class Telling(Plugin):
    name = "telling"
    priority = 1

    def access(self, request: Request) -> Reply:
        return reply_json(200, request.context["correlation_id"])


async def test_other_plugins_know_it():
    gateway = Serving(CorrelationId)
    gateway.use(Telling)
    async with gateway:
        answer = await gateway.ask("GET", "/", headers={NAME: "mine"})
    assert answer.json() == "mine"

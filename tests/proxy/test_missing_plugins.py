"""Plugins that are asked for and do not run: their requests are refused, all others are served."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from gateway.entities import Row
from tests.snapshot.rows import plugin, route, service

from .conftest import StartGateway
from .gateway import Gateway, Tables
from .peers import Upstream

OPEN = [("/a", 200), ("/b", 200), ("/c", 200)]


def tables(upstream: Upstream) -> Tables:
    """Routes /a and /b of one service, /c of another."""
    ours, theirs = (service(name=name, port=upstream.port) for name in ("ours", "theirs"))
    routes = [(ours, "/a"), (ours, "/b"), (theirs, "/c")]
    return {
        "services": [ours, theirs],
        "routes": [route(of, name=path[1:], paths=[path]) for of, path in routes],
    }


async def statuses(gateway: Gateway) -> list[tuple[str, int]]:
    return [(path, (await gateway.ask(get(path))).status) for path, _ in OPEN]


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def closes(*paths: str) -> list[tuple[str, int]]:
    return [(path, 503 if path in paths else 200) for path, _ in OPEN]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({}, closes("/a", "/b", "/c")),
        ({"route": 0}, closes("/a")),
        ({"service": 0}, closes("/a", "/b")),
        ({"route": 1, "service": 0}, closes("/b")),
        ({"route": 2, "service": 0}, OPEN),
        ({"consumer": True}, OPEN),
        ({"enabled": False}, OPEN),
    ],
    ids=["global", "route", "service", "both", "neither", "consumer", "disabled"],
)
async def test_what_a_missing_plugin_is_for_is_closed(
    start_gateway: StartGateway, upstream: Upstream, scope: dict[str, Any], expected: Any
):
    rows = tables(upstream)
    gateway = await start_gateway(rows)
    await gateway.change({"plugins": [missing("key-auth", rows, **scope)]})
    assert await statuses(gateway) == expected


async def test_it_opens_again_when_the_last_one_is_gone(
    start_gateway: StartGateway, upstream: Upstream
):
    rows = tables(upstream)
    first, second = (missing(name, rows, service=0) for name in ("key-auth", "acl"))
    gateway = await start_gateway(rows)
    await gateway.change({"plugins": [first, second]})
    await gateway.change({}, deleted={"plugins": [first["id"]]})
    assert await statuses(gateway) == closes("/a", "/b")
    await gateway.change({"plugins": [second | {"service_id": rows["services"][1]["id"]}]})
    assert await statuses(gateway) == closes("/c")
    await gateway.change({"plugins": [second | {"enabled": False}]})
    assert await statuses(gateway) == OPEN


async def test_the_answer_and_the_status_name_the_plugin(
    start_gateway: StartGateway, upstream: Upstream
):
    rows = tables(upstream)
    row = missing("key-auth", rows, route=0)
    gateway = await start_gateway(rows)
    await gateway.change({"plugins": [row]})
    answer = await gateway.ask(get("/a"))
    assert b"plugin 'key-auth' is not available on this node" in answer.body
    (bad,) = gateway.applier.bad_entities()
    assert (bad.kind, bad.id) == ("plugins", str(row["id"]))
    assert "'key-auth' is not present" in bad.reason
    assert "503" in bad.reason


def missing(
    name: str,
    rows: Tables,
    *,
    route: int | None = None,
    service: int | None = None,
    consumer: bool = False,
    enabled: bool = True,
) -> Row:
    return plugin(
        name,
        route_id=None if route is None else rows["routes"][route]["id"],
        service_id=None if service is None else rows["services"][service]["id"],
        consumer_id=uuid4() if consumer else None,
        enabled=enabled,
    )

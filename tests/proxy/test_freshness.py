"""A request that names the version it must see, and a node that has not synced for too long."""

from __future__ import annotations

import asyncio
import json

import pytest

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import Upstream, eventually

pytestmark = pytest.mark.both_loops

NEVER = 10**17


def get(version: object, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Gateway-Min-Version: {version}\r\n\r\n".encode()


# -- the version it must see


async def test_a_version_that_is_here_costs_no_question(gateway: Gateway, upstream: Upstream):
    assert (await gateway.ask(get(1))).status == 200
    assert gateway.syncs == 0


async def test_a_request_is_answered_from_the_version_it_asks_for(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, paths=["/old"]))
    gateway.newer = [one_route(upstream, name="new", paths=["/new"])]
    assert (await gateway.ask(get(1, "/new"))).status == 404
    assert (await gateway.ask(get(2, "/new"))).status == 200
    assert gateway.syncs == 1
    assert gateway.traffic.min_version_waits == 1


async def test_it_waits_until_the_version_is_there(gateway: Gateway, upstream: Upstream):
    client = await gateway.connect()
    client.send(get(2))
    await eventually(lambda: gateway.syncs > 2)  # asked for, and not there
    assert upstream.requests == []
    await gateway.change(one_route(upstream, name="new"))
    assert (await client.response()).status == 200


async def test_all_that_wait_share_the_questions(gateway: Gateway, upstream: Upstream):
    clients = [await gateway.connect() for _ in range(20)]
    for client in clients:
        client.send(get(2))
    await eventually(lambda: gateway.traffic.min_version_waits == 20)
    gateway.newer = [one_route(upstream, name="new")]
    for client in clients:
        assert (await client.response()).status == 200
    assert gateway.syncs < 20


async def test_a_version_that_does_not_come_is_a_503_that_says_when_to_try_again(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), min_version_timeout_s=0.05)
    response = await gateway.ask(get(NEVER))
    assert (response.status, response["Retry-After"]) == (503, "1")
    message = json.loads(response.body)["message"]
    assert message == f"version {NEVER} is not here yet, this is version 1"
    assert gateway.traffic.refused == {503: 1}
    assert gateway.traffic.min_version_timeouts == 1
    assert upstream.requests == []


async def test_the_deadline_holds_while_the_database_does_not_answer(
    start_gateway: StartGateway, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    gateway = await start_gateway(one_route(upstream), min_version_timeout_s=0.05)
    monkeypatch.setattr(gateway.proxy.freshness, "_sync_now", asyncio.Event().wait)
    assert (await gateway.ask(get(2))).status == 503


async def test_the_connection_goes_on_after_a_refusal(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), min_version_timeout_s=0.05)
    client = await gateway.connect()
    assert (await client.ask(get(NEVER))).status == 503
    assert (await client.ask(get(1))).status == 200


async def test_a_body_is_kept_while_its_request_waits(gateway: Gateway, upstream: Upstream):
    client = await gateway.connect()
    client.send(get(2).replace(b"GET", b"POST").replace(b"Host", b"Content-Length: 6\r\nHost"))
    client.send(b"abc")
    await eventually(lambda: gateway.traffic.min_version_waits == 1)
    client.send(b"def")
    gateway.newer = [one_route(upstream, name="new")]
    assert (await client.response()).status == 200
    assert upstream.requests[0].body == b"abcdef"


async def test_a_client_that_leaves_is_waited_for_no_more(gateway: Gateway, upstream: Upstream):
    client = await gateway.connect()
    client.send(get(2))
    await eventually(lambda: gateway.traffic.min_version_waits == 1)
    await client.reset()
    await eventually(lambda: not gateway.connections)
    await gateway.change(one_route(upstream, name="new"))
    assert (await gateway.ask(get(2))).status == 200
    assert len(upstream.requests) == 1


async def test_who_waits_while_the_node_stops_is_answered(gateway: Gateway):
    client = await gateway.connect()
    client.send(get(2))
    await eventually(lambda: gateway.traffic.min_version_waits == 1)
    await gateway.proxy.freshness.stop()
    assert (await client.response()).status == 503


@pytest.mark.parametrize("version", ["", "x", "-1", "1.5", "1, 2", "9" * 19])
async def test_what_is_no_version_is_a_400(gateway: Gateway, version: str):
    assert (await gateway.ask(get(version))).status == 400
    assert gateway.syncs == 0


# -- who may ask


async def test_the_header_does_not_travel_on(gateway: Gateway, upstream: Upstream):
    await gateway.ask(get(1))
    assert "X-Gateway-Min-Version" not in upstream.requests[0]


async def test_from_others_it_is_ignored_and_removed(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), min_version_from="10.0.0.0/8, 192.0.2.7")
    for version in (NEVER, "rubbish"):
        assert (await gateway.ask(get(version))).status == 200
    assert all("X-Gateway-Min-Version" not in request for request in upstream.requests)
    assert gateway.syncs == 0


# -- too stale


async def test_a_node_that_may_be_stale_serves_on(gateway: Gateway):
    gateway.stale_s = 10**6
    assert (await gateway.ask(get(1))).status == 200


@pytest.mark.parametrize(
    ("stale_s", "said"), [(31.0, "for 31 s"), (float("inf"), "since it started")]
)
async def test_one_that_must_not_be_answers_503_until_it_has_synced(
    start_gateway: StartGateway, upstream: Upstream, stale_s: float, said: str
):
    gateway = await start_gateway(one_route(upstream), max_stale_s=30, stale_action="refuse")
    assert (await gateway.ask(get(1))).status == 200
    gateway.stale_s = stale_s
    client = await gateway.connect()
    response = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (response.status, response["Retry-After"]) == (503, "1")
    assert said in json.loads(response.body)["message"]
    assert gateway.traffic.stale_refusals == 1
    gateway.stale_s = 0.0
    assert (await client.ask(get(1))).status == 200
    assert len(upstream.requests) == 2

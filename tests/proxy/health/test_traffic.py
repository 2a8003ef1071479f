"""What becomes of requests counts for the health of who was asked (balancer.md section 6.4)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.balancing.health import Report, State
from tests.proxy.conftest import StartGateway
from tests.proxy.gateway import Gateway, Tables
from tests.proxy.peers import Upstream, eventually

from .pools import GET, Changes, active, at, endpoint, passive, pool, shares, tables, view

NO_PEER = b"failure to get a peer from the ring-balancer"


def status(code: int) -> bytes:
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % code


def serving(tables: Tables, **of_service: Any) -> Tables:
    [before] = tables["services"]
    return tables | {"services": [before | of_service]}


def counts(gateway: Gateway, upstream: Upstream) -> tuple[str, list[int]]:
    health = endpoint(gateway, upstream).health
    return health.state.value, health.counts


async def test_the_trace_of_the_sheet(start_gateway: StartGateway, upstream: Upstream):
    checks = passive(http_failures=3, successes=2)
    gateway = await start_gateway(tables(checks, at(upstream)))
    trace = []
    for code in (500, 503, 200, 200, 500, 500, 500):
        upstream.answer = status(code)
        assert (await gateway.ask(GET)).status == code
        health = endpoint(gateway, upstream).health
        trace.append(
            (health.counts[Report.SUCCESS], health.counts[Report.HTTP_FAILURE], health.state.value)
        )
    assert trace == [
        (0, 1, "mostly_healthy"),
        (0, 2, "mostly_healthy"),
        (1, 0, "mostly_healthy"),
        (2, 0, "healthy"),
        (0, 1, "mostly_healthy"),
        (0, 2, "mostly_healthy"),
        (0, 3, "unhealthy"),
    ]
    response = await gateway.ask(GET)
    assert response.status == 503
    assert NO_PEER in response.body
    assert len(upstream.requests) == 7


async def test_without_a_limit_for_successes_failures_add_up(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(tables(passive(http_failures=3), at(upstream)))
    for code in (500, 200, 500, 200, 404, 500):
        upstream.answer = status(code)
        await gateway.ask(GET)
    assert counts(gateway, upstream)[0] == "unhealthy"


async def test_a_refused_connection_that_a_retry_follows_is_a_tcp_failure(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    one, two, _ = upstreams
    gateway = await start_gateway(tables(passive(tcp_failures=1), at(one), at(two)))
    changes = Changes(gateway)
    await two.stop()
    assert await shares(gateway, 4) == {b"0": 4}
    change = await changes.next()
    assert (change.port, change.available, change.reason) == (
        two.port,
        False,
        "traffic: no response",
    )
    assert await shares(gateway, 4) == {b"0": 4}


@pytest.mark.parametrize(
    ("statuses", "after"), [([429, 500, 503], State.HEALTHY), ([502], State.UNHEALTHY)]
)
async def test_without_a_further_try_it_is_judged_as_a_502(
    start_gateway: StartGateway, upstream: Upstream, statuses: list[int], after: State
):
    checks = passive(tcp_failures=1, http_failures=1, http_statuses=statuses)
    gateway = await start_gateway(serving(tables(checks, at(upstream)), retries=0))
    await upstream.stop()
    assert (await gateway.ask(GET)).status == 502
    assert endpoint(gateway, upstream).health.state is after


async def test_of_type_tcp_connections_count_and_no_status_does(
    start_gateway: StartGateway, upstream: Upstream
):
    checks = passive(tcp_failures=2, http_failures=1, successes=1)
    checks["passive"]["type"] = "tcp"
    gateway = await start_gateway(serving(tables(checks, at(upstream)), retries=0))
    upstream.answer = status(500)
    assert (await gateway.ask(GET)).status == 500
    assert counts(gateway, upstream) == ("healthy", [0, 0, 0, 0])
    await upstream.stop()
    assert (await gateway.ask(GET)).status == 502
    assert counts(gateway, upstream) == ("mostly_healthy", [0, 0, 1, 0])
    assert (await gateway.ask(GET)).status == 502
    assert counts(gateway, upstream) == ("unhealthy", [0, 0, 2, 0])


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_silent_target_is_a_timeout_on_each_try(
    start_gateway: StartGateway, upstream: Upstream, retries: int
):
    upstream.scripted = True
    rows = serving(tables(passive(timeouts=5), at(upstream)), retries=retries, read_timeout=50)
    gateway = await start_gateway(rows)
    assert (await gateway.ask(GET)).status == 504
    assert counts(gateway, upstream) == ("mostly_healthy", [0, 0, 0, 1 + retries])


async def test_a_kept_connection_that_had_just_been_closed_says_nothing(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(tables(passive(tcp_failures=1), at(upstream)))
    assert (await gateway.ask(GET)).status == 200
    closed: list[int] = []

    def answer(request: object) -> bytes:
        if closed:
            return status(200)
        closed.append(1)
        upstream.connections[-1].writer.transport.abort()
        return b""

    upstream.answer = answer
    assert (await gateway.ask(GET)).status == 200
    assert closed
    assert endpoint(gateway, upstream).health.is_pristine


async def test_a_client_that_leaves_says_nothing_of_the_target(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(tables(passive(http_failures=1), at(upstream)))
    client = await gateway.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    await client.reset()
    await eventually(lambda: not gateway.connections)
    assert endpoint(gateway, upstream).health.is_pristine


async def test_a_target_that_traffic_has_put_away_is_brought_back_by_probes(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    one, two, _ = upstreams
    two.answer = lambda request: status(500 if request.target == "/" else 200)
    checks = passive(http_failures=1) | active(http_path="/health", healthy={"interval": 0})
    gateway = await start_gateway(tables(checks, at(one), at(two)))
    changes = Changes(gateway)
    client = await gateway.connect()
    assert sorted([(await client.ask(GET)).status for _ in range(2)]) == [200, 500]
    assert (await changes.next()).reason == "traffic: status 500"
    assert (await client.ask(GET)).body == b"0"
    assert (await changes.next()).reason == "probe: status 200"
    assert [request.target for request in two.requests] == ["/", "/health"]


async def test_when_all_are_down_nobody_is_asked_until_one_is_back(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    targets = [at(upstream) for upstream in upstreams]
    gateway = await start_gateway(tables(active(), *targets))
    changes = Changes(gateway)
    for upstream in upstreams:
        await upstream.stop()
    for _ in upstreams:
        await changes.next()
    response = await gateway.ask(GET)
    assert response.status == 503
    assert NO_PEER in response.body
    assert gateway.codes() == {("all", 503, False): 1}
    await upstreams[0].start(port=upstreams[0].port)
    await changes.next()
    assert await shares(gateway, 3) == {b"0": 3}


async def test_with_too_little_of_the_weight_left_nobody_is_asked(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    one, two, three = upstreams
    targets = [at(one, weight=50), at(two, weight=30), at(three, weight=20)]
    gateway = await start_gateway(tables(passive(http_failures=1) | {"threshold": 50}, *targets))
    gateway.proxy.health.mark(targets[2]["id"], None, healthy=False)
    assert view(gateway).weights.available == 80
    assert (await gateway.ask(GET)).status == 200
    gateway.proxy.health.mark(targets[1]["id"], None, healthy=False)
    assert not view(gateway).healthy
    response = await gateway.ask(GET)
    assert response.status == 503
    assert NO_PEER in response.body


# -- who listens


@pytest.mark.parametrize(
    ("checks", "is_told"),
    [
        ({}, False),
        (active(every_s=1000), False),
        (passive(http_failures=1), True),
        (passive(successes=1) | active(every_s=1000), True),
        (passive(successes=1), False),
    ],
)
async def test_nobody_is_told_how_tries_end_where_that_does_not_count(
    start_gateway: StartGateway, upstream: Upstream, checks: Any, is_told: bool
):
    gateway = await start_gateway(tables(checks, at(upstream)))
    await shares(gateway, 1)
    [destination] = gateway.proxy.destinations.known()
    assert (destination.listener is not None) is is_told


@pytest.mark.parametrize("algorithm", ["least-connections", "latency"])
async def test_the_algorithm_hears_of_ends_as_well(
    start_gateway: StartGateway, upstreams: list[Upstream], algorithm: str
):
    one, two, three = upstreams
    targets = [at(one), at(two), at(three)]
    rows = tables(passive(http_failures=1, tcp_failures=1), *targets, algorithm=algorithm)
    gateway = await start_gateway(rows)
    two.answer = status(500)
    await three.stop()
    await shares(gateway, 12)
    assert len(two.requests) == 1
    assert [endpoint(gateway, upstream).in_flight for upstream in upstreams] == [0, 0, 0]
    assert [endpoint(gateway, upstream).available for upstream in upstreams] == [True, False, False]
    await gateway.change({"upstreams": [pool({}, algorithm=algorithm)]})
    assert all(endpoint(gateway, upstream).available for upstream in upstreams)

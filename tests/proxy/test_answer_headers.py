"""The headers that the gateway adds, as operators choose them (proxying.md section 3)."""

from __future__ import annotations

import re

import pytest

from gateway import __version__
from tests.snapshot.rows import route, service, target
from tests.snapshot.rows import upstream as upstream_row

from .conftest import StartGateway
from .gateway import Gateway, Tables, one_route
from .peers import OK, Request, Response, Upstream

OURS = f"gateway/{__version__}"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

ADDED = {
    "Server",
    "Via",
    "X-Gateway-Upstream-Latency",
    "X-Gateway-Proxy-Latency",
    "X-Gateway-Response-Latency",
    "X-Gateway-Request-Id",
    "X-Gateway-Upstream-Status",
}


def added(response: Response) -> set[str]:
    """The headers of a response that the gateway may have added."""
    return {name for name, _ in response.headers} & ADDED


@pytest.mark.parametrize(
    ("headers", "proxied", "unproxied"),
    [
        (
            "server_tokens,latency_tokens,request_id",
            ADDED - {"X-Gateway-Response-Latency", "X-Gateway-Upstream-Status"},
            {"Server", "X-Gateway-Response-Latency", "X-Gateway-Request-Id"},
        ),
        ("off", set(), set()),
        ("server_tokens", {"Server", "Via"}, {"Server"}),
        ("via", {"Via"}, set()),
        (
            "latency_tokens",
            {"X-Gateway-Upstream-Latency", "X-Gateway-Proxy-Latency"},
            {"X-Gateway-Response-Latency"},
        ),
        ("X-Kong-Proxy-Latency", {"X-Gateway-Proxy-Latency"}, set()),
        ("request_id", {"X-Gateway-Request-Id"}, {"X-Gateway-Request-Id"}),
        ("upstream_status", {"X-Gateway-Upstream-Status"}, set()),
    ],
)
async def test_responses_carry_what_was_chosen(
    start_gateway: StartGateway,
    upstream: Upstream,
    headers: str,
    proxied: set[str],
    unproxied: set[str],
):
    gateway = await start_gateway(one_route(upstream, paths=["/a"]), headers=headers)
    response = await gateway.ask(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (response.status, response.body) == (200, b"ok")
    assert added(response) == proxied
    unrouted = await gateway.ask(GET)
    assert unrouted.status == 404
    assert added(unrouted) == unproxied
    unreadable = await gateway.ask(b"GET / HTTP/1.1\r\n\r\n")
    assert unreadable.status == 400
    assert added(unreadable) == unproxied


async def test_the_id_is_in_error_bodies_even_where_no_header_has_it(start_gateway: StartGateway):
    response = await (await start_gateway({}, headers="off")).ask(GET)
    assert re.search(rb'"request_id":"[0-9a-f]{32}"', response.body)


# -- what the upstream itself says in such headers

THEIRS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nServer: nginx\r\nVia: 1.0 fred\r\n"
    b"X-Kong-Request-Id: theirs\r\nX-Gateway-Upstream-Latency: 7\r\n"
    b"x-gateway-upstream-status: 500\r\n\r\n"
)


async def test_what_the_gateway_does_not_add_is_left_to_the_upstream(
    start_gateway: StartGateway, upstream: Upstream
):
    upstream.answer = THEIRS
    response = await (await start_gateway(one_route(upstream), headers="off")).ask(GET)
    assert response["Server"] == "nginx"
    assert response["Via"] == "1.0 fred"
    assert response["X-Kong-Request-Id"] == "theirs"
    assert response["X-Gateway-Upstream-Latency"] == "7"
    assert response["X-Gateway-Upstream-Status"] == "500"


async def test_what_the_gateway_adds_takes_the_place_of_the_upstreams(
    start_gateway: StartGateway, upstream: Upstream
):
    upstream.answer = THEIRS
    headers = "server_tokens,latency_tokens,request_id,upstream_status"
    response = await (await start_gateway(one_route(upstream), headers=headers)).ask(GET)
    assert response["Server"] == "nginx"
    assert response["Via"] == f"1.0 fred, 1.1 {OURS}"
    assert "theirs" not in str(response.headers)
    assert int(response["X-Gateway-Upstream-Latency"]) >= 0
    assert response["X-Gateway-Upstream-Status"] == "200"


# -- X-Gateway-Upstream-Status


async def test_the_status_of_a_failed_try_is_what_it_stands_for(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), headers="upstream_status", compat="kong")
    upstream.answer = b"nonsense\r\n\r\n"
    response = await gateway.ask(GET)
    assert (response.status, response["X-Kong-Upstream-Status"]) == (502, "502")


async def test_a_timeout_stands_for_504(start_gateway: StartGateway, upstream: Upstream):
    upstream.scripted = True
    tables = one_route(upstream, to={"read_timeout": 1, "retries": 0})
    response = await (await start_gateway(tables, headers="upstream_status")).ask(GET)
    assert (response.status, response["X-Gateway-Upstream-Status"]) == (504, "504")


async def test_who_never_got_to_an_upstream_has_no_upstream_status(
    start_gateway: StartGateway,
):
    unresolvable = f"{'a' * 64}.test"
    gateway = await start_gateway(
        one_route(1, to={"host": unresolvable}), headers="upstream_status"
    )
    response = await gateway.ask(GET)
    assert response.status == 503
    assert "X-Gateway-Upstream-Status" not in response


# -- latencies over several tries


def two_targets(first: int, second: int, retries: int = 5) -> Tables:
    """A service whose first try goes to one address and the second to another."""
    pool, orders = upstream_row("pool"), service(host="pool", name="orders", retries=retries)
    addresses = [f"127.0.0.1:{port}" for port in (first, second)]
    return {
        "services": [orders],
        "routes": [route(orders, name="all", paths=["/"])],
        "upstreams": [pool],
        "targets": [target(pool, address) for address in addresses],
    }


async def test_failed_tries_count_as_time_of_the_gateway(
    start_gateway: StartGateway, upstream: Upstream
):
    silent = Upstream()
    silent.scripted = True
    await silent.start()
    tables = two_targets(silent.port, upstream.port)
    tables["services"][0]["read_timeout"] = 60
    gateway = await start_gateway(tables)
    latencies = []
    for _ in range(2):  # one of the two begins with the silent one
        response = await gateway.ask(GET)
        assert response.status == 200
        latencies.append(int(response["X-Gateway-Proxy-Latency"]))
    await silent.stop()
    assert max(latencies) >= 60


async def test_a_retry_that_finds_no_endpoint_is_still_proxied(start_gateway: StartGateway):
    tables = two_targets(1, 2, retries=2)
    tables["upstreams"][0]["algorithm"] = "latency"  # which tries none a second time
    answer = await (await start_gateway(tables)).ask(GET)
    assert answer.status == 503
    assert "Via" in answer
    assert "X-Gateway-Proxy-Latency" in answer
    assert answer.body.startswith(b"The upstream server is currently unavailable\n")


# -- requests


async def sent_up(gateway: Gateway, upstream: Upstream, lines: bytes = b"") -> Request:
    await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    return upstream.requests[-1]


async def test_requests_carry_no_id_where_none_is_wanted(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), headers_upstream="off")
    request = await sent_up(gateway, upstream)
    assert "request-id" not in str(request.headers).lower()
    assert "Via" in request


async def test_an_id_of_a_gateway_before_this_one_is_then_left_alone(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream), headers_upstream="off")
    request = await sent_up(gateway, upstream, b"X-Kong-Request-Id: outer\r\n")
    assert request["X-Kong-Request-Id"] == "outer"


# -- debug headers

DEBUG = b"Gateway-Debug: 1\r\n"


async def test_who_asks_is_told_route_and_service(start_gateway: StartGateway, upstream: Upstream):
    tables = one_route(upstream)
    gateway = await start_gateway(tables, allow_debug_header=True)
    for asking in (b"Gateway-Debug: 1", b"kong-debug:"):
        response = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + asking + b"\r\n\r\n")
        assert response["Gateway-Route-Id"] == str(tables["routes"][0]["id"])
        assert response["Gateway-Route-Name"] == "all"
        assert response["Gateway-Service-Id"] == str(tables["services"][0]["id"])
        assert response["Gateway-Service-Name"] == "orders"
    assert "Gateway-Route-Id" not in await gateway.ask(GET)


async def test_names_only_where_there_are_any_and_kongs_headers_under_compat(
    start_gateway: StartGateway, upstream: Upstream
):
    tables = one_route(upstream, to={"name": None}, name=None)
    gateway = await start_gateway(tables, allow_debug_header=True, compat="kong")
    response = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\nKong-Debug: 1\r\n\r\n")
    assert response["Kong-Route-Id"] == str(tables["routes"][0]["id"])
    assert response["Kong-Service-Id"] == str(tables["services"][0]["id"])
    assert "Kong-Route-Name" not in response
    assert "Kong-Service-Name" not in response


async def test_answers_of_our_own_tell_the_route_too(start_gateway: StartGateway):
    alone = route(None, name="alone", paths=["/a"])
    gateway = await start_gateway({"routes": [alone]}, allow_debug_header=True)
    response = await gateway.ask(b"GET /a HTTP/1.1\r\nHost: a\r\n" + DEBUG + b"\r\n")
    assert (response.status, response["Gateway-Route-Name"]) == (503, "alone")
    assert "Gateway-Service-Id" not in response
    unrouted = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + DEBUG + b"\r\n")
    assert unrouted.status == 404
    assert "Gateway-Route-Id" not in unrouted


async def test_a_name_cannot_end_its_header(start_gateway: StartGateway, upstream: Upstream):
    upstream.answer = OK
    tables = one_route(upstream)
    tables["routes"][0]["name"] = "a\r\nSet-Cookie: b"  # as a row written by hand may have it
    gateway = await start_gateway(tables, allow_debug_header=True)
    response = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + DEBUG + b"\r\n")
    assert response["Gateway-Route-Name"] == "a??Set-Cookie: b"
    assert "Set-Cookie" not in response


async def test_nobody_is_told_where_it_is_not_allowed(gateway: Gateway):
    response = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + DEBUG + b"\r\n")
    assert "Gateway-Route-Id" not in response

"""Plain proxying: the right path to the right place, and the response back unchanged."""

from __future__ import annotations

import os

import pytest

from tests.snapshot.rows import route, service

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import Upstream

GET = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


def get(target: str, host: str = "example.org", headers: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode()


@pytest.mark.both_loops
async def test_a_request_goes_up_and_its_response_comes_back(gateway: Gateway, upstream: Upstream):
    upstream.answer = b"HTTP/1.1 201 Made up\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello"
    response = await gateway.ask(get("/a?b=c"))
    assert (response.status, response.reason, response.body) == (201, "Made up", b"hello")
    assert response["X-A"] == "1"
    (request,) = upstream.requests
    assert (request.method, request.target, request.body) == ("GET", "/a?b=c", b"")
    assert gateway.codes() == {("all", 201, True): 1}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "M-SEARCH"])
async def test_any_method_and_a_body_go_up(gateway: Gateway, upstream: Upstream, method: str):
    head = f"{method} /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
    await gateway.ask(head.encode() + b"body")
    (request,) = upstream.requests
    assert (request.method, request.body) == (method, b"body")
    assert request["Content-Length"] == "4"


@pytest.mark.both_loops
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_large_bodies_pass_both_ways(gateway: Gateway, upstream: Upstream, framing: str):
    body = os.urandom(3_000_000)
    upstream.answer = lambda request: (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body
    )
    if framing == "length":
        message = b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        message = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    response = await gateway.ask(b"POST / HTTP/1.1\r\nHost: a\r\n" + message)
    assert response.body == body
    assert upstream.requests[0].body == body


PATHS = {
    # service path, route path, strip, handling, target → target upstream
    "strip": (None, "/shop", True, "v0", "/shop/cart?a=/shop", "/cart?a=/shop"),
    "strip to nothing": (None, "/shop", True, "v0", "/shop", "/"),
    "keep": (None, "/shop", False, "v0", "/shop/cart", "/shop/cart"),
    "service path, strip, v0": ("/api", "/shop", True, "v0", "/shop/cart/", "/api/cart/"),
    "service path, strip, v1": ("/api", "/shop", True, "v1", "/shopping", "/apiping"),
    "service path, keep, v0": ("/api", "/shop", False, "v0", "/shop/cart", "/api/shop/cart"),
    "service path, keep, v1": ("/api", "/shop", False, "v1", "/shop/cart", "/apishop/cart"),
    "regex": ("/api", r"~/v\d+", True, "v0", "/v12/cart", "/api/cart"),
    "dots climb no higher": ("/api", "/shop", True, "v0", "/shop%2e%2E/cart", "/api/cart"),
    "dots before matching": (None, "/shop", True, "v0", "/x/../shop/a", "/a"),
    "encoded slash stays": ("/api", "/shop", True, "v0", "/shop/a%2fb", "/api/a%2Fb"),
    "encoded space stays": (None, "/shop", True, "v0", "/shop/a%20b", "/a%20b"),
    "encoded line break stays": (None, "/shop", True, "v0", "/shop/a%0d%0ab", "/a%0D%0Ab"),
    "query is left alone": (None, "/shop", True, "v0", "/shop?a=%2e%0a&b=//", "/?a=%2e%0a&b=//"),
    "empty query stays": (None, "/shop", True, "v0", "/shop/a?", "/a?"),
}


@pytest.mark.parametrize(
    ("base", "path", "strip", "handling", "target", "expected"), PATHS.values(), ids=PATHS
)
async def test_the_path_that_is_sent_upstream(
    start_gateway: StartGateway,
    upstream: Upstream,
    base: str | None,
    path: str,
    strip: bool,
    handling: str,
    target: str,
    expected: str,
):
    gateway = await start_gateway(
        one_route(
            upstream, to={"path": base}, paths=[path], strip_path=strip, path_handling=handling
        )
    )
    await gateway.ask(get(target))
    await gateway.ask(get(target))  # now from memory
    assert [request.target for request in upstream.requests] == [expected, expected]


async def test_the_absolute_form_names_host_and_path(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(
        one_route(upstream, hosts=["shop.test"], paths=["/a"], strip_path=False)
    )
    response = await gateway.ask(get("http://shop.test:81/a?b=http://c/", host="other.test"))
    assert response.status == 200
    (request,) = upstream.requests
    assert request.target == "/a?b=http://c/"
    assert request["X-Forwarded-Host"] == "shop.test"


@pytest.mark.parametrize(
    ("target", "expected"),
    [("http://a", "/"), ("HTTP://a?b", "/?b"), ("http://a:80/b", "/b")],
)
async def test_the_absolute_form_may_lack_a_path(
    gateway: Gateway, upstream: Upstream, target: str, expected: str
):
    assert (await gateway.ask(get(target))).status == 200
    assert upstream.requests[0].target == expected


async def test_each_request_goes_the_way_of_its_route(
    start_gateway: StartGateway, upstream: Upstream
):
    """By host, wildcard host, method, header, path, and the same again from memory."""
    ours = service(name="ours", port=upstream.port)
    names = {
        "by-host": {"hosts": ["one.test"]},
        "by-wildcard": {"hosts": ["*.two.test"]},
        "by-method": {"methods": ["DELETE"]},
        "by-header": {"headers": {"x-tenant": ["acme"]}},
        "by-path": {"paths": ["/p"]},
    }
    gateway = await start_gateway(
        {"services": [ours], "routes": [route(ours, name=n, **how) for n, how in names.items()]}
    )
    requests = [
        get("/", host="one.test"),
        get("/", host="x.two.test"),
        get("/").replace(b"GET", b"DELETE"),
        get("/", headers="X-Tenant: ACME\r\n"),
        get("/", headers="X-Tenant: other\r\n"),
        get("/p/q"),
    ]
    for _ in range(2):
        statuses = [(await gateway.ask(request)).status for request in requests]
        assert statuses == [200, 200, 200, 200, 404, 200]
    assert gateway.codes() == {(name, 200, True): 2 for name in names}
    assert gateway.traffic.unmatched == {404: 2}


async def test_a_request_keeps_the_configuration_it_began_with(
    start_gateway: StartGateway, upstream: Upstream
):
    tables = one_route(upstream)
    gateway = await start_gateway(tables)
    upstream.scripted = True
    client = await gateway.connect()
    client.send(GET)
    peer = await upstream.accept()
    await peer.request()
    await gateway.change({}, {table: [row["id"] for row in rows] for table, rows in tables.items()})
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    assert (await gateway.ask(GET)).status == 404
    peer.send(b"lo")
    assert (await client.response()).body == b"hello"
    assert gateway.codes() == {("all", 200, True): 1}
    assert (await client.ask(GET)).status == 404


async def test_a_change_is_served_at_once_on_open_connections(
    start_gateway: StartGateway, upstream: Upstream
):
    tables = one_route(upstream)
    gateway = await start_gateway(tables)
    client = await gateway.connect()
    await client.ask(get("/a"))
    await gateway.change({"services": [tables["services"][0] | {"path": "/new"}]})
    await client.ask(get("/a"))
    assert [request.target for request in upstream.requests] == ["/a", "/new/a"]
    assert len(upstream.connections) == 1

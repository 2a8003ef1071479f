"""Headers to the letter of proxying.md sections 1 and 3."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest

from gateway import KONG_ADMIN_API_VERSION, __version__
from tests.snapshot.rows import route, service, target
from tests.snapshot.rows import upstream as upstream_row

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import OK, Request, Response, Upstream

OURS = f"gateway/{__version__}"
KONGS = f"kong/{KONG_ADMIN_API_VERSION}"


async def sent_up(
    gateway: Gateway, upstream: Upstream, *lines: str, host: str = "a.test"
) -> Request:
    """What reaches the upstream of a request with these header lines."""
    head = "\r\n".join(("GET /p HTTP/1.1", f"Host: {host}", *lines, "", ""))
    assert (await gateway.ask(head.encode("latin-1"))).status == 200
    return upstream.requests[-1]


async def sent_down(gateway: Gateway, upstream: Upstream, *lines: str) -> Response:
    """What reaches the client of a response with these header lines."""
    head = "\r\n".join(("HTTP/1.1 200 OK", "Content-Length: 0", *lines, "", ""))
    upstream.answer = head.encode("latin-1")
    return await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


# -- requests


async def test_a_plain_request_is_sent_with_exactly_these_headers(
    gateway: Gateway, upstream: Upstream
):
    request = await sent_up(gateway, upstream, "Accept: */*", host="A.test:81")
    headers = dict(request.headers)
    assert re.fullmatch("[0-9a-f]{32}", headers.pop("X-Gateway-Request-Id"))
    assert headers == {
        "Host": f"127.0.0.1:{upstream.port}",
        "Connection": "keep-alive",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "a.test",
        "X-Forwarded-Path": "/p",
        "X-Forwarded-Port": str(gateway.port),
        "X-Forwarded-Proto": "http",
        "X-Real-IP": "127.0.0.1",
        "Via": f"1.1 {OURS}",
        "Accept": "*/*",
    }
    assert len(request.headers) == len(headers) + 1


async def test_headers_of_the_client_keep_order_case_and_repetition(
    gateway: Gateway, upstream: Upstream
):
    lines = ["x-B: 2", "Cookie: a=1", "X-a: 1", "cookie: b=2", "X_Under: \xe9", "X-Empty: "]
    request = await sent_up(gateway, upstream, *lines)
    assert request.headers[-6:] == [
        ("x-B", "2"),
        ("Cookie", "a=1"),
        ("X-a", "1"),
        ("cookie", "b=2"),
        ("X_Under", "\xe9"),
        ("X-Empty", ""),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Keep-Alive: 5",
        "Proxy-Connection: keep-alive",
        "Proxy: http://evil.test",
        "Upgrade: h2c",
        "TE: gzip",
        "TE: not-trailers",
        "Expect: 100-continue",
    ],
)
async def test_what_concerns_one_hop_goes_no_further(
    gateway: Gateway, upstream: Upstream, line: str
):
    request = await sent_up(gateway, upstream, line)
    assert line.partition(":")[0] not in request
    assert request["Connection"] == "keep-alive"


async def test_headers_named_in_connection_go_no_further(gateway: Gateway, upstream: Upstream):
    request = await sent_up(
        gateway,
        upstream,
        "X-Hop: 1",
        "Connection: x-hop, X-OTHER",
        "Connection: close",
        "X-Stays: 1",
    )
    assert "X-Hop" not in request
    assert request["X-Stays"] == "1"
    assert request["Connection"] == "keep-alive"


async def test_a_client_cannot_have_the_forwarding_headers_removed(
    gateway: Gateway, upstream: Upstream
):
    request = await sent_up(gateway, upstream, "Connection: x-forwarded-for, x-real-ip, host, via")
    for name in ("X-Forwarded-For", "X-Real-IP", "Host", "Via"):
        assert request[name]


@pytest.mark.parametrize("te", ["trailers", "gzip, Trailers", "trailers;q=0.5"])
async def test_a_client_that_takes_trailers_may_say_so(
    gateway: Gateway, upstream: Upstream, te: str
):
    assert (await sent_up(gateway, upstream, f"TE: {te}"))["TE"] == "trailers"


async def test_what_earlier_proxies_said_is_appended_to(gateway: Gateway, upstream: Upstream):
    request = await sent_up(
        gateway,
        upstream,
        "X-Forwarded-For: 192.0.2.1, 192.0.2.2",
        "Via: 1.0 fred",
    )
    assert request["X-Forwarded-For"] == "192.0.2.1, 192.0.2.2, 127.0.0.1"
    assert request["Via"] == f"1.0 fred, 1.1 {OURS}"


async def test_what_an_unknown_client_claims_is_replaced(gateway: Gateway, upstream: Upstream):
    request = await sent_up(
        gateway,
        upstream,
        "X-Real-IP: 192.0.2.1",
        "x-forwarded-proto: https",
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-Port: 443",
        "X-Forwarded-Path: /evil",
        "X-Forwarded-Prefix: /evil",
        "X-Gateway-Request-Id: evil",
        "X-Kong-Request-Id: evil",
    )
    assert "evil" not in str(request.headers)
    assert request["X-Real-IP"] == "127.0.0.1"
    assert request["X-Forwarded-Proto"] == "http"
    assert request["X-Forwarded-Port"] == str(gateway.port)


@pytest.mark.parametrize(
    ("fields", "prefix"),
    [
        ({"paths": ["/p"]}, ["/p"]),
        ({"paths": ["/p"], "strip_path": False}, []),
        ({"paths": ["/"]}, []),
        ({"paths": None, "hosts": ["a.test"]}, []),
    ],
)
async def test_the_prefix_is_told_when_one_was_stripped(
    start_gateway: StartGateway, upstream: Upstream, fields: dict[str, object], prefix: list[str]
):
    gateway = await start_gateway(one_route(upstream, **fields))
    request = await sent_up(gateway, upstream)
    assert request.all("X-Forwarded-Prefix") == prefix


async def test_the_path_is_told_as_it_was_asked_for(gateway: Gateway, upstream: Upstream):
    await gateway.ask(b"GET /a/../b%20c?d HTTP/1.1\r\nHost: a\r\n\r\n")
    (request,) = upstream.requests
    assert request.target == "/b%20c?d"
    assert request["X-Forwarded-Path"] == "/a/../b%20c"


async def test_each_request_has_an_id_that_its_response_carries(
    gateway: Gateway, upstream: Upstream
):
    client = await gateway.connect()
    message = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    shown = [(await client.ask(message))["X-Gateway-Request-Id"] for _ in range(3)]
    assert shown == [request["X-Gateway-Request-Id"] for request in upstream.requests]
    assert len(set(shown)) == 3


@pytest.mark.parametrize(
    ("preserve_host", "host", "expected"),
    [
        (True, "Shop.test:81", "Shop.test:81"),
        (True, "shop.test", "shop.test"),
        (False, "shop.test", "127.0.0.1:{port}"),
    ],
)
async def test_the_host_of_a_plain_service(
    start_gateway: StartGateway, upstream: Upstream, preserve_host: bool, host: str, expected: str
):
    gateway = await start_gateway(one_route(upstream, preserve_host=preserve_host))
    request = await sent_up(gateway, upstream, host=host)
    assert request["Host"] == expected.format(port=upstream.port)


async def test_a_host_that_is_preserved_but_was_not_sent_is_the_services(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, preserve_host=True))
    await gateway.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert upstream.requests[0]["Host"] == f"127.0.0.1:{upstream.port}"
    assert "X-Forwarded-Host" not in upstream.requests[0]


@pytest.mark.parametrize(
    ("fields", "preserve_host", "expected"),
    [
        ({}, False, "localhost:{port}"),
        ({"host_header": "shop.test"}, False, "shop.test:{port}"),
        ({"host_header": "shop.test"}, True, "a.test"),
    ],
)
async def test_the_host_of_an_upstream_entity(
    start_gateway: StartGateway,
    upstream: Upstream,
    fields: dict[str, str],
    preserve_host: bool,
    expected: str,
):
    pool = upstream_row("pool", **fields)
    orders = service(host="pool", name="orders")
    gateway = await start_gateway(
        {
            "services": [orders],
            "routes": [route(orders, paths=["/"], preserve_host=preserve_host)],
            "upstreams": [pool],
            "targets": [target(pool, f"localhost:{upstream.port}")],
        }
    )
    request = await sent_up(gateway, upstream)
    assert request["Host"] == expected.format(port=upstream.port)


async def test_a_body_of_no_bytes_is_announced_as_it_was(gateway: Gateway, upstream: Upstream):
    await gateway.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await gateway.ask(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [r.all("Content-Length") for r in upstream.requests] == [["0"], []]


# -- responses


async def test_a_proxied_response_carries_what_the_upstream_said_and_what_we_add(
    gateway: Gateway, upstream: Upstream
):
    response = await sent_down(
        gateway,
        upstream,
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "server: nginx",
        "Set-Cookie: a=1",
        "set-cookie: b=2",
        "X-A: \xe9",
    )
    assert response["Date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert response["Server"] == "nginx"
    assert response.all("Set-Cookie") == ["a=1", "b=2"]
    assert response["X-A"] == "\xe9"
    assert response["Via"] == f"1.1 {OURS}"
    assert int(response["X-Gateway-Upstream-Latency"]) >= 0
    assert int(response["X-Gateway-Proxy-Latency"]) >= 0
    assert "X-Gateway-Response-Latency" not in response
    assert "Connection" not in response


async def test_date_and_server_are_added_where_the_upstream_has_none(
    gateway: Gateway, upstream: Upstream
):
    response = await sent_down(gateway, upstream, "X-Date: 1", "X-Server: 2")
    assert parsedate_to_datetime(response["Date"])
    assert response["Server"] == OURS


async def test_via_of_the_upstream_is_appended_to(gateway: Gateway, upstream: Upstream):
    response = await sent_down(gateway, upstream, "Via: 1.0 fred")
    assert response["Via"] == f"1.0 fred, 1.1 {OURS}"


async def test_what_the_upstream_says_for_one_hop_stays_there(gateway: Gateway, upstream: Upstream):
    response = await sent_down(
        gateway,
        upstream,
        "Connection: x-hop, keep-alive",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Upgrade: h2c",
        "Trailer: X-T",
        "X-Stays: 1",
    )
    for name in ("Connection", "X-Hop", "Keep-Alive", "Proxy-Connection", "Upgrade", "Trailer"):
        assert name not in response
    assert response["X-Stays"] == "1"


async def test_request_id_and_latencies_of_the_upstream_are_replaced(
    gateway: Gateway, upstream: Upstream
):
    response = await sent_down(
        gateway,
        upstream,
        "X-Gateway-Request-Id: theirs",
        "X-Kong-Request-Id: theirs",
        "X-Gateway-Proxy-Latency: theirs",
        "X-Kong-Upstream-Latency: theirs",
        "X-Gateway-Response-Latency: theirs",
    )
    assert "theirs" not in str(response.headers)


async def test_an_answer_of_our_own_tells_its_latency_and_no_via(
    start_gateway: StartGateway,
):
    response = await (await start_gateway({})).ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.status == 404
    assert response["Server"] == OURS
    assert int(response["X-Gateway-Response-Latency"]) >= 0
    assert re.fullmatch("[0-9a-f]{32}", response["X-Gateway-Request-Id"])
    assert parsedate_to_datetime(response["Date"])
    for name in ("Via", "X-Gateway-Upstream-Latency", "X-Gateway-Proxy-Latency"):
        assert name not in response


async def test_a_failed_upstream_counts_as_proxied(gateway: Gateway, upstream: Upstream):
    await upstream.stop()
    response = await gateway.ask(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.status == 502
    assert response["Via"] == f"1.1 {OURS}"
    assert response["Server"] == OURS
    assert int(response["X-Gateway-Upstream-Latency"]) >= 0
    assert int(response["X-Gateway-Proxy-Latency"]) >= 0
    assert "X-Gateway-Response-Latency" not in response


async def test_with_compat_kong_the_names_are_kongs(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, paths=["/p"]), compat="kong")
    upstream.answer = OK
    response = await gateway.ask(b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n")
    (request,) = upstream.requests
    assert request["X-Kong-Request-Id"] == response["X-Kong-Request-Id"]
    assert request["Via"] == response["Via"] == f"1.1 {KONGS}"
    assert response["Server"] == KONGS
    assert int(response["X-Kong-Upstream-Latency"]) >= 0
    assert int(response["X-Kong-Proxy-Latency"]) >= 0
    assert "gateway" not in str(request.headers + response.headers).lower()
    unrouted = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert int(unrouted["X-Kong-Response-Latency"]) >= 0


@pytest.mark.parametrize(
    ("settings", "content_type"),
    [
        ({}, "text/html"),
        ({"compat": "kong"}, "text/html; charset=UTF-8"),
        ({"compat": "kong", "response_charset": "off"}, "text/html"),
        ({"response_charset": "ISO-8859-1"}, "text/html; charset=ISO-8859-1"),
    ],
)
async def test_texts_that_name_no_charset_are_given_one(
    start_gateway: StartGateway, upstream: Upstream, settings: dict[str, str], content_type: str
):
    gateway = await start_gateway(one_route(upstream), **settings)
    response = await sent_down(gateway, upstream, "Content-Type: text/html")
    assert response["Content-Type"] == content_type


async def test_what_is_meant_for_a_server_in_front_of_the_upstream_ends_here(
    gateway: Gateway, upstream: Upstream
):
    lines = ("X-Accel-Redirect: /secret", "X-Accel-Expires: 0", "X-Pad: a", "X-Padding: b")
    response = await sent_down(gateway, upstream, *lines)
    assert response["X-Padding"] == "b"
    for name in ("X-Accel-Redirect", "X-Accel-Expires", "X-Pad"):
        assert name not in response

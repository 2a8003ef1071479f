"""Answers of our own: status, message, and a body in the type asked for (proxying.md section 4)."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.errors import ErrorBodies, media_type, message_of
from gateway.settings import NodeSettings, SettingError
from tests.snapshot.rows import route, service, target
from tests.snapshot.rows import upstream as upstream_row

from .conftest import StartGateway
from .gateway import Gateway, one_route
from .peers import Response, Upstream

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
XML = "application/xml; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"


def bodies(**settings: Any) -> ErrorBodies:
    return ErrorBodies(NodeSettings(**settings))


def rendered(message: str, request_id: str, content_type: str) -> bytes:
    return bodies().render(message, request_id, content_type)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("image/png", JSON),
        ("text/html", HTML),
        ("TEXT/HTML", HTML),
        ("text/html;level=1", HTML),
        ("application/xml", XML),
        ("text/plain", PLAIN),
        ("text/*", PLAIN),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
        ("text/html;q=0.5, application/xml;q=0.8", XML),
        ("text/plain, text/html", PLAIN),
        ("text/html;q=0, application/xml;q=0.1", XML),
        ("text/html;q=0", JSON),
        ("text/html; q=x, text/plain; q=0.1", PLAIN),
        ("text/html;q=9, text/plain", HTML),
        (" , ;q=1, text/html", HTML),
        ("image/png," * 31 + "text/html;q=1", JSON),
        ("image/png;q=0," * 31 + "text/html", HTML),
        ("image/png;q=0," * 32 + "text/html", JSON),
    ],
)
def test_the_type_follows_accept(accept: str, expected: str):
    assert media_type(accept.encode()) == expected


@pytest.mark.parametrize(
    ("headers", "by_router", "expected"),
    [
        ([], True, JSON),
        ([], False, PLAIN),
        ([(b"content-type", b"text/html")], True, JSON),
        ([(b"content-type", b"text/html; charset=utf-8")], False, HTML),
        ([(b"content-type", b"application/x-www-form-urlencoded")], False, JSON),
        ([(b"content-type", b"text/html"), (b"accept", b"application/xml")], False, XML),
        ([(b"accept", b"text/html;q=0.1"), (b"accept", b"application/xml")], True, XML),
    ],
)
def test_without_accept_it_depends_on_who_answers(
    headers: list[tuple[bytes, bytes]], by_router: bool, expected: str
):
    assert bodies().choose_type(headers, by_router=by_router) == expected


@pytest.mark.parametrize(
    ("default_type", "expected"),
    [
        ("text/plain", PLAIN),
        ("text/html", HTML),
        ("application/json", JSON),
        ("application/xml", XML),
    ],
)
def test_who_says_nothing_gets_the_default_type(default_type: str, expected: str):
    chosen = bodies(error_default_type=default_type)
    assert chosen.choose_type([], by_router=False) == expected
    assert chosen.choose_type([], by_router=True) == JSON
    assert chosen.choose_type([(b"accept", b"image/png")], by_router=False) == JSON
    assert chosen.refusal(400, "0a") == (expected, chosen.render("Bad request", "0a", expected))


@given(st.binary(max_size=40))
def test_any_accept_leads_to_one_of_the_types(accept: bytes):
    assert media_type(accept) in {JSON, HTML, XML, PLAIN}


def test_a_json_body_to_the_byte():
    assert rendered("Bad", "0a", JSON) == b'{\n  "message":"Bad",\n  "request_id":"0a"\n}'


def test_a_plain_body_to_the_byte():
    assert rendered("Bad", "0a", PLAIN) == b"Bad\nrequest_id: 0a\n"


def test_an_html_body():
    body = rendered("Bad", "0a", HTML).decode()
    assert body.startswith("<!doctype html>\n")
    assert "<title>Error</title>" in body
    assert "\n    <h1>Error</h1>\n    <p>Bad.</p>\n    <p>request_id: 0a</p>\n" in body


def test_an_xml_body():
    body = rendered("Bad", "0a", XML)
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<error>\n')
    error = ET.fromstring(body.decode())
    assert [(child.tag, child.text) for child in error] == [("message", "Bad"), ("requestid", "0a")]


@given(st.text())
def test_a_message_of_any_text_leaves_every_body_well_formed(message: str):
    told = json.loads(rendered(message, "0a", JSON))
    assert told == {"message": message, "request_id": "0a"}
    assert "<" not in rendered(message, "0a", HTML).decode().split("<p>")[1].removesuffix(
        ".</p>\n    "
    )
    text = rendered(message, "0a", XML).decode().partition("<message>")[2]
    assert unescape(text.partition("</message>")[0]) == message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (405, "Method not allowed"),
        (413, "Payload too large"),
        (418, "The upstream server responded with 418"),
    ],
)
def test_what_is_said_of_a_status(status: int, message: str):
    assert message_of(status) == message


# -- templates


def written(path: Path, template: str | bytes) -> str:
    path.write_bytes(template if isinstance(template, bytes) else template.encode())
    return str(path)


@pytest.mark.parametrize(
    ("kind", "content_type", "told"),
    [
        ("html", HTML, "100% a &amp; &lt;b&gt; 0a\n"),
        ("xml", XML, "100% a &amp; &lt;b&gt; 0a\n"),
        ("json", JSON, "100% a & <b> 0a\n"),
        ("plain", PLAIN, "100% a & <b> 0a\n"),
    ],
)
def test_a_file_replaces_the_body_of_its_type(
    tmp_path: Path, kind: str, content_type: str, told: str
):
    path = written(tmp_path / kind, "100%% %s %s\n")
    templates = bodies(**{f"error_template_{kind}": path})
    for of_type in (HTML, XML, JSON, PLAIN):
        body = templates.render("a & <b>", "0a", of_type)
        own = rendered("a & <b>", "0a", of_type)
        assert body == (told.encode() if of_type == content_type else own)


@pytest.mark.parametrize(
    "template", ["", "%s", "%s %s %s", "%s %d", "%s %% s", "100% %s %s", "%s %s %", "%(a)s %s %s"]
)
def test_a_template_without_exactly_two_places_is_refused(tmp_path: Path, template: str):
    path = written(tmp_path / "page", template)
    with pytest.raises(SettingError, match="exactly two places") as refused:
        bodies(error_template_html=path)
    assert str(refused.value).startswith(
        f"--error-template-html (GATEWAY_ERROR_TEMPLATE_HTML): {path} must"
    )


def test_a_template_that_cannot_be_read_is_named(tmp_path: Path):
    missing, binary = str(tmp_path / "missing"), written(tmp_path / "binary", b"%s %s \xff")
    for path, reason in ((missing, "No such file or directory"), (binary, "it is not UTF-8")):
        with pytest.raises(SettingError) as refused:
            bodies(error_template_json=path)
        assert str(refused.value) == (
            f"--error-template-json (GATEWAY_ERROR_TEMPLATE_JSON): {path} cannot be read: {reason}"
        )


# -- on the wire


def told(response: Response) -> str:
    """The message of a JSON answer, once its request id is the one of the header."""
    assert response["Content-Type"] == JSON
    told = json.loads(response.body)
    assert told == {"message": told["message"], "request_id": response["X-Gateway-Request-Id"]}
    return told["message"]


async def ask(gateway: Gateway, target: str = "/", accept: str = "*/*") -> Response:
    return await gateway.ask(
        f"GET {target} HTTP/1.1\r\nHost: Shop.test:80\r\nAccept: {accept}\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("*/*", JSON), ("text/html", HTML), ("application/xml", XML), ("text/plain", PLAIN)],
)
async def test_no_route(start_gateway: StartGateway, accept: str, content_type: str):
    response = await ask(await start_gateway({}), accept=accept)
    assert response.status == 404
    assert response["Content-Type"] == content_type
    message, request_id = "no Route matched with those values", response["X-Gateway-Request-Id"]
    assert response.body == rendered(message, request_id, content_type)


async def test_no_route_is_told_in_json_to_who_accepts_anything(start_gateway: StartGateway):
    gateway = await start_gateway({})
    response = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert told(response) == "no Route matched with those values"


async def test_no_service(start_gateway: StartGateway):
    gateway = await start_gateway({"routes": [route(None, name="alone", paths=["/"])]})
    response = await ask(gateway)
    assert (response.status, told(response)) == (503, "no Service found with those values")
    assert gateway.codes() == {("alone", 503, False): 1}


async def test_a_disabled_service_is_as_if_its_routes_were_not_there(
    start_gateway: StartGateway, upstream: Upstream
):
    response = await ask(await start_gateway(one_route(upstream, to={"enabled": False})))
    assert (response.status, told(response)) == (404, "no Route matched with those values")


@pytest.mark.parametrize("weights", [[], [0, 0]])
async def test_no_target(start_gateway: StartGateway, weights: list[int]):
    pool, orders = upstream_row("pool"), service(host="pool")
    gateway = await start_gateway(
        {
            "services": [orders],
            "routes": [route(orders, name="all", paths=["/"])],
            "upstreams": [pool],
            "targets": [target(pool, f"127.0.0.{i}:1", weight=w) for i, w in enumerate(weights, 1)],
        }
    )
    response = await ask(gateway)
    assert (response.status, told(response)) == (
        503,
        "failure to get a peer from the ring-balancer",
    )
    assert int(response["X-Gateway-Response-Latency"]) >= 0
    assert "Via" not in response


async def test_a_name_that_does_not_resolve(start_gateway: StartGateway):
    unresolvable = f"{'a' * 64}.test"  # no label may be that long, so nobody need be asked
    gateway = await start_gateway(one_route(1, to={"host": unresolvable}))
    response = await ask(gateway)
    assert (response.status, told(response)) == (503, "name resolution failed")
    assert int(response["X-Gateway-Response-Latency"]) >= 0
    assert "Via" not in response


async def test_plain_http_on_an_https_route(start_gateway: StartGateway, upstream: Upstream):
    gateway = await start_gateway(one_route(upstream, protocols=["https"]))
    response = await ask(gateway)
    assert (response.status, told(response)) == (426, "Please use HTTPS protocol")
    assert response["Upgrade"] == "TLS/1.2, HTTP/1.1"
    assert "Upgrade" in response.all("Connection")
    assert upstream.requests == []
    assert gateway.codes() == {("all", 426, False): 1}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["/a%20b?c=d", "http://Shop.test:80/a%20b?c=d"])
async def test_plain_http_is_sent_to_https(
    start_gateway: StartGateway, upstream: Upstream, status: int, target: str
):
    gateway = await start_gateway(
        one_route(upstream, protocols=["https"], https_redirect_status_code=status)
    )
    response = await ask(gateway, target)
    assert (response.status, response.body) == (status, b"")
    assert response["Location"] == "https://shop.test/a%20b?c=d"


async def test_https_only_is_not_said_of_a_route_for_both(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(one_route(upstream, protocols=["http", "https"]))
    assert (await ask(gateway)).status == 200


async def test_head_is_answered_without_a_body(start_gateway: StartGateway):
    gateway = await start_gateway({})
    client = await gateway.connect()
    client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert body == b""


async def test_a_failed_upstream_is_told_as_the_server_layer_tells_it(
    gateway: Gateway, upstream: Upstream
):
    await upstream.stop()
    response = await gateway.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.status == 502
    assert response["Content-Type"] == PLAIN
    message = "An invalid response was received from the upstream server"
    request_id = response["X-Gateway-Request-Id"]
    assert response.body == f"{message}\nrequest_id: {request_id}\n".encode()
    assert told(await ask(gateway)) == message


async def test_an_error_of_the_upstream_is_passed_on_as_it_is(gateway: Gateway, upstream: Upstream):
    for status in (b"404", b"500", b"502", b"503", b"504"):
        upstream.answer = b"HTTP/1.1 " + status + b" X\r\nContent-Length: 4\r\n\r\noops"
        response = await ask(gateway)
        assert (response.status, response.body) == (int(status), b"oops")
    assert len(upstream.requests) == 5


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "garbage": (b"\x16\x03\x01\r\n\r\n", 400, "Bad request"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "Bad request"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad request"),
    "authority": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad request"),
    "other scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad request"),
    "absolute without host": (b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad request"),
    "absolute with user": (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad request"),
    "absolute with odd host": (b'GET http://a"b/ HTTP/1.1\r\nHost: a\r\n\r\n', 400, "Bad request"),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "Method not allowed"),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "Method not allowed"),
    "long line": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "URI too long"),
    "big head": (
        b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 33_000 + b"\r\n\r\n",
        431,
        "Request header or cookie too large",
    ),
    "other expectation": (
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",
        417,
        "Expectation failed",
    ),
    "other coding": (
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br\r\n\r\n",
        501,
        "Not implemented",
    ),
    "version 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP version not supported"),
}


@pytest.mark.parametrize(("message", "status", "reason"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_read_is_refused_and_nothing_after_it_is_read(
    gateway: Gateway, upstream: Upstream, message: bytes, status: int, reason: str
):
    client = await gateway.connect()
    client.send(message + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    response = await client.response()
    assert (response.status, response["Connection"]) == (status, "close")
    assert response["Content-Type"] == PLAIN
    assert response.body.startswith(f"{reason}\nrequest_id: ".encode())
    assert await client.closed()
    assert upstream.requests == []
    assert gateway.traffic.refused == {status: 1}
    assert gateway.codes() == {}


async def test_a_refusal_after_good_requests_leaves_their_answers_alone(
    gateway: Gateway, upstream: Upstream
):
    client = await gateway.connect()
    client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost : a\r\n\r\n")
    statuses: list[Any] = [(await client.response()).status for _ in range(2)]
    assert statuses == [200, 400]
    assert await client.closed()
    assert [request.target for request in upstream.requests] == ["/a"]


async def test_a_request_that_cannot_be_read_is_told_of_in_the_default_type(
    start_gateway: StartGateway, tmp_path: Path
):
    page = written(tmp_path / "page", "<b>%s</b><i>%s</i>")
    settings = {"error_default_type": "text/html", "error_template_html": page}
    response = await (await start_gateway({}, **settings)).ask(b"GET / HTTP/1.1\r\n\r\n")
    assert (response.status, response["Content-Type"]) == (400, HTML)
    request_id = response["X-Gateway-Request-Id"]
    assert response.body == f"<b>Bad request</b><i>{request_id}</i>".encode()


@pytest.mark.parametrize(
    "head", [b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD a:80 HTTP/1.1\r\nHost: a\r\n\r\n"]
)
async def test_a_head_request_that_is_refused_gets_no_body_either(gateway: Gateway, head: bytes):
    client = await gateway.connect()
    client.send(head)
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_what_is_readable_but_not_served_is_told_in_the_type_asked_for(gateway: Gateway):
    response = await gateway.ask(
        b"TRACE / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n", "TRACE"
    )
    assert (response.status, told(response)) == (405, "Method not allowed")
    assert gateway.traffic.refused == {405: 1}


@pytest.mark.parametrize(("compat", "status"), [("none", 431), ("kong", 400)])
async def test_kong_has_a_400_for_too_large_a_head(
    start_gateway: StartGateway, compat: str, status: int
):
    gateway = await start_gateway({}, compat=compat)
    response = await gateway.ask(REFUSED["big head"][0])
    assert response.status == status
    assert response.body.startswith(b"Request header or cookie too large\nrequest_id: ")
    assert gateway.traffic.refused == {status: 1}

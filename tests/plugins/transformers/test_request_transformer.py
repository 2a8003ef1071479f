"""request-transformer: what of a request is changed, in which order, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import Response

from gateway.plugins.contract import Plugin
from gateway.plugins.request import Request
from gateway.plugins.transformers import RequestTransformer, ResponseTransformer
from gateway.plugins.transformers.request_transformer import MOST_KEPT_BYTES
from gateway.testing import Received, Serving
from tests.plugins.configs import problems

FORM = "application/x-www-form-urlencoded"


async def sent(
    config: dict[str, Any], method: str = "GET", path: str = "/", paths: str = "/", **further: Any
) -> Received:
    gateway = Serving(RequestTransformer, **config)
    gateway.route = {"name": "all", "paths": [paths], "strip_path": False}
    async with gateway:
        answer = await gateway.ask(method, path, **further)
    assert answer.status_code == 200
    return gateway.received[0]


# -- headers


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"remove": {"headers": ["X-A"]}}, ({}, {"x-b": ["2"]})),
        ({"remove": {"headers": ["x-none"]}}, ({"x-a": ["1", "3"]}, {"x-b": ["2"]})),
        ({"rename": {"headers": ["x-a:x-b"]}}, ({}, {"x-b": ["1", "3"]})),
        ({"rename": {"headers": ["x-none:x-b"]}}, ({"x-a": ["1", "3"]}, {"x-b": ["2"]})),
        ({"replace": {"headers": ["x-a:n", "x-n:n"]}}, ({"x-a": ["n"]}, {"x-b": ["2"]})),
        (
            {"add": {"headers": ["x-a:n", "x-n:http://n"]}},
            ({"x-a": ["1", "3"]}, {"x-b": ["2"], "x-n": ["http://n"]}),
        ),
        (
            {"append": {"headers": ["x-b:n", "x-n:é"]}},
            ({"x-a": ["1", "3"]}, {"x-b": ["2", "n"], "x-n": ["é"]}),
        ),
        (
            {
                "remove": {"headers": ["x-b"]},
                "rename": {"headers": ["x-a:x-b"]},
                "replace": {"headers": ["x-b:n"]},
                "add": {"headers": ["x-a:m"]},
                "append": {"headers": ["x-a:o"]},
            },
            ({"x-a": ["m", "o"]}, {"x-b": ["n"]}),
        ),
    ],
)
async def test_headers(config: dict[str, Any], expected: tuple[dict[str, Any], ...]):
    headers = [("X-A", "1"), ("X-B", "2"), ("x-a", "3")]
    received = await sent(config, headers=headers)
    found: dict[str, list[str]] = {}
    for name, value in received.headers.multi_items():
        if name in ("x-a", "x-b", "x-n"):
            found.setdefault(name, []).append(value)
    assert found == expected[0] | expected[1]


async def test_lines_that_are_known_again_are_edited_all_the_same():
    async with Serving(RequestTransformer, add={"headers": ["x-a:n"]}) as gateway:
        for headers in ({}, {"x-a": "1"}, {}, {"x-b": "2" * MOST_KEPT_BYTES}, {"x-a": "1"}):
            await gateway.ask("GET", "/", headers=headers)
    assert [got.headers["x-a"] for got in gateway.received] == ["n", "1", "n", "n", "1"]


async def test_the_host_can_be_replaced_but_not_added_or_removed():
    received = await sent({"replace": {"headers": ["Host:new.test"]}})
    assert received.headers.get_list("host") == ["new.test"]
    others = {"add": {"headers": ["host:no"]}, "remove": {"headers": ["host"]}}
    assert (await sent(others)).headers["host"].startswith("127.0.0.1")


async def test_a_header_becomes_the_host_and_the_host_a_header():
    config = {"rename": {"headers": ["x-tenant:host"]}}
    received = await sent(config, headers={"X-Tenant": "a.test"})
    assert received.headers["host"] == "a.test"
    assert "x-tenant" not in received.headers
    config = {"rename": {"headers": ["host:x-asked"]}}
    received = await sent(config, headers={"Host": "b.test"})
    assert received.headers["x-asked"] == "b.test"


# -- the query


@pytest.mark.parametrize(
    ("config", "query", "expected"),
    [
        ({"remove": {"querystring": ["a"]}}, "a=1&b=2&a=3", "b=2"),
        ({"remove": {"querystring": ["a", "b:of any value"]}}, "a&b=2", ""),
        ({"rename": {"querystring": ["a:z"]}}, "a=1&b=2&a=3&z=4", "b=2&z=1&z=3"),
        ({"rename": {"querystring": ["x:b"]}}, "b=2&a=1", "a=1&b=2"),
        ({"replace": {"querystring": ["a:n", "x:n"]}}, "a=1&a=3", "a=n"),
        ({"add": {"querystring": ["a:n", "x:y z&"]}}, "a=1", "a=1&x=y%20z%26"),
        ({"append": {"querystring": ["a:n", "x:n"]}}, "a=1", "a=1&a=n&x=n"),
        ({"add": {"querystring": ["x:1"]}}, "b=%C3%A9&a&c=%FF+%20", "a&b=%C3%A9&c=%FF%20%20&x=1"),
        ({"add": {"headers": ["x-a:1"]}}, "b=%C3%a9&a", "b=%C3%a9&a"),
    ],
)
async def test_arguments(config: dict[str, Any], query: str, expected: str):
    assert (await sent(config, path=f"/?{query}")).query == expected


# -- bodies


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"remove": {"body": ["a"]}}, {"b": 1.50, "c": ["x"]}),
        ({"rename": {"body": ["a:z", "x:y"]}}, {"z": "1", "b": 1.50, "c": ["x"]}),
        ({"rename": {"body": ["a:b"]}}, {"b": "1", "c": ["x"]}),
        ({"replace": {"body": ["b:n", "x:n"]}}, {"a": "1", "b": "n", "c": ["x"]}),
        ({"add": {"body": ["b:n", 'x:é"']}}, {"a": "1", "b": 1.50, "c": ["x"], "x": 'é"'}),
        (
            {"append": {"body": ["a:n", "c:n", "x:n"]}},
            {"a": ["1", "n"], "b": 1.50, "c": ["x", "n"], "x": ["n"]},
        ),
    ],
)
async def test_json(config: dict[str, Any], expected: Any):
    body = '{"a": "1", "b": 1.50, "c": ["x"]}'
    headers = {"Content-Type": "application/json; charset=utf-8"}
    received = await sent(config, "POST", content=body, headers=headers)
    assert json.loads(received.body) == expected
    assert received.headers["content-length"] == str(len(received.body))


async def test_what_is_not_changed_keeps_its_bytes():
    body = b'{"big": 123456789012345678901234567890, "odd" : 1.50e400}'
    config = {"remove": {"body": ["none"]}}
    received = await sent(
        config, "POST", content=body, headers={"Content-Type": "application/json"}
    )
    assert received.body == b'{"big": 123456789012345678901234567890,"odd" : 1.50e400}'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"a": '),
        ("application/json", b'["a"]'),
        ("application/json", b"\xff"),
        ("text/plain", b'{"a": 1}'),
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=x", b"--x"),
    ],
)
async def test_what_is_no_form_passes_as_it_is(content_type: str, body: bytes):
    config = {"remove": {"body": ["a"]}, "add": {"body": ["x:1"]}}
    received = await sent(config, "POST", content=body, headers={"Content-Type": content_type})
    assert received.body == body


async def test_a_body_that_is_not_held_in_memory_passes_as_it_is():
    gateway = Serving(RequestTransformer, {"buffer_limit_bytes": 4096}, add={"body": ["x:1"]})
    async with gateway:
        body = json.dumps({"a": "1" * 100_000}).encode()
        headers = {"Content-Type": "application/json"}
        await gateway.ask("POST", "/", content=body, headers=headers)
    assert gateway.received[0].body == body


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"remove": {"body": ["a"]}}, b"b=%20"),
        ({"rename": {"body": ["b:c d"]}}, b"a=1&c%20d=%20"),
        ({"replace": {"body": ["a:n"]}}, b"a=n&b=%20"),
        ({"add": {"body": ["x:1 2"]}}, b"a=1&b=%20&x=1%202"),
        ({"append": {"body": ["a:n"]}}, b"a=1&b=%20&a=n"),
    ],
)
async def test_urlencoded(config: dict[str, Any], expected: bytes):
    received = await sent(config, "POST", content=b"a=1&b=%20", headers={"Content-Type": FORM})
    assert received.body == expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [(FORM, b"x=1"), ("application/json", b'{"x":"1"}'), ("text/plain", b"")],
)
async def test_a_body_is_made_where_there_is_none(content_type: str, expected: bytes):
    config = {"add": {"body": ["x:1"]}}
    received = await sent(config, "POST", content=b"", headers={"Content-Type": content_type})
    assert received.body == expected


async def test_multipart():
    head = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    body = (
        head.format("a", "", "1") + head.format("f", '; filename="f.txt"', "content") + "--b--\r\n"
    )
    config = {
        "rename": {"body": ["f:file"]},
        "remove": {"body": ["a"]},
        "add": {"body": ["x:1"]},
        "append": {"body": ["y:1"]},
    }
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    received = await sent(config, "POST", content=body.encode(), headers=headers)
    file = head.format("file", '; filename="f.txt"', "content")
    assert received.body.decode() == file + head.format("x", "", "1") + "--b--\r\n"


# -- path and method


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/new", "/new"),
        ("/a b/é", "/a%20b/%C3%A9"),
        ("/v2/$(uri_captures[1])/$(uri_captures['id'])", "/v2/7/7"),
        ("$(uri_captures[0])", "/users/7"),
        ("$(uri_captures[9])", "/"),
        ("/$(query_params.q)", "/x%20%3Fy%23"),
    ],
)
async def test_the_path(uri: str, expected: str):
    query = "q=x%20%3Fy%23"
    route = r"~/users/(?<id>\d+)"
    received = await sent({"replace": {"uri": uri}}, path=f"/users/7?{query}", paths=route)
    assert (received.path, received.query) == (expected, query)


async def test_the_method():
    assert (await sent({"http_method": "PUT"})).method == "PUT"


@pytest.mark.parametrize(
    ("asked", "sent_as", "body"),
    [("GET", "HEAD", b""), ("HEAD", "GET", b""), ("POST", "GET", b"content")],
)
@pytest.mark.parametrize("filters", [False, True])
async def test_a_response_fits_what_the_client_has_asked(
    asked: str, sent_as: str, body: bytes, filters: bool
):
    gateway = Serving(RequestTransformer, http_method=sent_as)
    gateway.service.answer = Response(b"content")
    if filters:
        gateway.use(ResponseTransformer, add={"headers": ["x-a:1"]})
    async with gateway:
        for _ in range(2):
            answer = await gateway.ask(asked, "/")
            assert (answer.status_code, answer.content) == (200, body)
            length = "0" if sent_as == "HEAD" else "7"
            assert answer.headers.get_list("content-length") == [length]
    assert [received.method for received in gateway.received] == [sent_as] * 2


async def test_what_is_too_long_for_one_piece_is_dropped_for_a_client_that_asked_by_head():
    gateway = Serving(RequestTransformer, http_method="GET")
    gateway.service.answer = Response(b"1" * 1_000_000)
    async with gateway:
        for _ in range(2):
            answer = await gateway.ask("HEAD", "/")
            assert answer.headers["content-length"] == "1000000"


async def test_a_form_moves_along_into_the_query():
    config = {"http_method": "GET", "add": {"querystring": ["x:1"]}}
    received = await sent(
        config, "POST", path="/?a=0", content=b"b=2&a=1", headers={"Content-Type": FORM}
    )
    assert (received.method, received.query) == ("GET", "a=0&a=1&b=2&x=1")


# -- templates


class Leaving(Plugin):
    name = "leaving"
    priority = 900

    def access(self, request: Request) -> None:
        request.context.update(text="t", number=7, flag=True, other={"a": 1})
        request.upstream.set_header("x-told", "by a plugin")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain $ and )", "plain $ and )"),
        ("<$(headers['x-a'])>", "<1>"),
        ('$( headers["X-A"] )', "1"),
        ("$(headers.x_a)", "1"),
        ("$(headers.host)", "asked.test"),
        ("$(headers['x-told'])", "by a plugin"),
        ("$(query_params.id)-$(query_params['id'])", "é-é"),
        ("$(query_params.evil)", "a%0D%0AX-Evil: 1"),
        ("$(uri_captures.name)$(uri_captures[1])", "nn"),
        ("$(shared.text)$(shared.number)$(shared.flag)$(shared.other)", "t7true"),
        ("<$(headers.none)$(query_params.none)$(uri_captures.none)$(shared.none)>", "<>"),
    ],
)
async def test_templates(template: str, expected: str):
    gateway = Serving(RequestTransformer, add={"headers": [f"x-out:{template}"]})
    gateway.use(Leaving)
    gateway.route = {"name": "all", "paths": ["~/(?<name>[^/]+)"]}
    async with gateway:
        headers = {"X-A": "1", "Host": "asked.test"}
        await gateway.ask("GET", "/n?id=%C3%A9&evil=a%0D%0AX-Evil:+1", headers=headers)
    received = gateway.received[0].headers
    assert received["x-out"] == expected
    assert "x-evil" not in received


async def test_a_value_that_is_no_text_stays_what_it_is():
    config = {"add": {"headers": ["x-out:$(headers.x_a)"], "querystring": ["q:$(headers.x_a)"]}}
    received = await sent(config, headers={"X-A": b"\xff"})
    assert received.query == "q=%FF"
    assert received.headers.raw.count((b"x-out", b"\xff")) == 1


# -- what is refused


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"add": {"headers": ["x"]}}, "invalid value: x"),
        ({"add": {"headers": ["a b:1"]}}, "'a b' is not a valid header"),
        ({"remove": {"headers": ["a b"]}}, "'a b' is not a valid header"),
        ({"rename": {"headers": ["a:b c"]}}, "'b c' is not a valid header"),
        ({"rename": {"headers": ["a:"]}}, "'' is not a valid header"),
        ({"add": {"headers": ["Content-Length:1"]}}, "Content-Length is written by the proxy only"),
        ({"rename": {"headers": ["a:te"]}}, "te is written by the proxy only"),
        (
            {"append": {"headers": ["X-Forwarded-For:1"]}},
            "X-Forwarded-For is written by the proxy only",
        ),
        ({"add": {"querystring": ["x:"]}}, "key 'x' has no value"),
        ({"rename": {"body": ["x::"]}}, "key 'x' has no value"),
    ],
)
def test_bad_pairs(config: dict[str, Any], text: str):
    (kind, lists), *_ = config.items()
    (what, _), *_ = lists.items()
    assert problems(RequestTransformer, config) == {kind: {what: [text]}}


@pytest.mark.parametrize(
    "template",
    ["$(os.exit())", "$(headers)", "$(headers['a'", "$(headers[1])", "$(query_params.a .. 'b')"],
)
def test_templates_are_names_only(template: str):
    found = problems(RequestTransformer, {"add": {"body": [f"x:{template}"]}})
    assert "in $(…) may stand only $(headers['name'])" in found["add"]["body"][0]
    found = problems(RequestTransformer, {"replace": {"uri": f"/{template}"}})
    assert "in $(…) may stand only" in found["replace"]["uri"]


def test_a_path_begins_with_a_slash():
    found = problems(RequestTransformer, {"replace": {"uri": "x"}})
    assert found == {"replace": {"uri": "should start with: /"}}
    found = problems(RequestTransformer, {"http_method": "get"})
    assert found == {"http_method": "invalid value: get"}

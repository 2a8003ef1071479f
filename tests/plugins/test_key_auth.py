"""key-auth: where a key may be, which keys are good, and what the service sees of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from gateway.plugins.key_auth import KeyAuth
from gateway.testing import Serving

NONE, DUPLICATE, UNKNOWN = (
    *("No API key found in request", "Duplicate API key found"),
    "Unauthorized",
)
FORM = "application/x-www-form-urlencoded"


def serving(settings: dict[str, Any] | None = None, **config: Any) -> Serving:
    gateway = Serving(KeyAuth, settings, **config)
    gateway.consumer("bob", keyauth_credentials={"key": "k"})
    gateway.consumer("ärger", keyauth_credentials={"key": "schlüssel"})
    return gateway


def problem(answer: httpx.Response) -> str:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Key"
    return str(answer.json()["message"])


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/", {}, NONE),
        ("/", {"apikey": ""}, NONE),
        ("/?apikey=", {}, NONE),
        ("/?APIKEY=k", {}, NONE),
        ("/", {"apikey": "nope"}, UNKNOWN),
        ("/?apikey=nope", {}, UNKNOWN),
        ("/?apikey=k&apikey=k", {}, DUPLICATE),
        ("/?apikey=k", {"apikey": "nope"}, UNKNOWN),
        ("/?apikey=%00", {}, UNKNOWN),
        ("/?apikey=%FF%FE", {}, UNKNOWN),
        ("/", {"apikey": b"\xff\xfe"}, UNKNOWN),
    ],
)
async def test_requests_without_a_good_key(path: str, headers: Any, expected: str):
    async with serving() as gateway:
        assert problem(await gateway.ask("GET", path, headers=headers)) == expected
    assert gateway.received == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"apikey": "k"}),
        ("/", {"APIKey": "k"}),
        ("/?apikey=k", {}),
        ("/?api%6bey=%6b", {}),
        ("/?apikey=nope", {"apikey": "k"}),
        ("/", {"apikey": "schlüssel".encode()}),
        ("/?apikey=schl%C3%BCssel", {}),
    ],
)
async def test_requests_with_a_good_key(path: str, headers: Any):
    async with serving() as gateway:
        for _ in range(2):
            assert (await gateway.ask("GET", path, headers=headers)).status_code == 200


async def test_two_headers_are_one_too_many():
    async with serving() as gateway:
        headers = [("apikey", "k"), ("ApiKey", "k")]
        assert problem(await gateway.ask("GET", "/", headers=headers)) == DUPLICATE


async def test_the_first_name_goes_first_wherever_it_is():
    gateway = serving(key_names=["one", "two"])
    async with gateway:
        for path, headers, status in [
            ("/?one=k", {"two": "nope"}, 200),
            ("/?one=nope", {"two": "k"}, 401),
            ("/", {"two": "k"}, 200),
            ("/", {"two": "k"}, 200),
            ("/?one=nope", {"two": "k"}, 401),  # the header lines alone do not decide
        ]:
            answer = await gateway.ask("GET", path, headers=headers)
            assert answer.status_code == status, (path, headers)


@pytest.mark.parametrize(
    ("config", "path", "headers"),
    [
        ({"key_in_header": False}, "/", {"apikey": "k"}),
        ({"key_in_query": False}, "/?apikey=k", {}),
    ],
)
async def test_places_can_be_closed(config: dict[str, Any], path: str, headers: dict[str, str]):
    async with serving(**config) as gateway:
        assert problem(await gateway.ask("GET", path, headers=headers)) == NONE


async def test_an_expired_key_is_unknown_also_where_it_was_known_before():
    gateway = Serving(KeyAuth)
    bob = gateway.consumer("bob")
    key = gateway.entity("keyauth_credentials", consumer={"id": str(bob["id"])}, key="k", ttl=60)
    async with gateway:
        for _ in range(3):
            assert (await gateway.ask("GET", "/", headers={"apikey": "k"})).status_code == 200
        key["expires_at"] = datetime.now(UTC) - timedelta(seconds=1)
        await gateway.apply()
        assert problem(await gateway.ask("GET", "/", headers={"apikey": "k"})) == UNKNOWN


async def test_a_key_expires_while_its_connection_lives(monkeypatch: pytest.MonkeyPatch):
    gateway = Serving(KeyAuth)
    gateway.consumer("bob", keyauth_credentials={"key": "k", "ttl": 60})
    async with gateway:
        for _ in range(3):
            assert (await gateway.ask("GET", "/", headers={"apikey": "k"})).status_code == 200
        later = datetime.now(UTC).timestamp() + 61
        monkeypatch.setattr("time.time", lambda: later)
        assert problem(await gateway.ask("GET", "/", headers={"apikey": "k"})) == UNKNOWN


async def test_preflight_requests_may_pass():
    async with serving(run_on_preflight=False) as gateway:
        assert (await gateway.ask("OPTIONS", "/")).status_code == 200
        assert "X-Consumer-ID" not in gateway.received[0].headers
        assert (await gateway.ask("GET", "/")).status_code == 401


async def test_refusals_name_the_realm():
    async with serving(realm='of "bob"') as gateway:
        answer = await gateway.ask("GET", "/")
    assert answer.headers["WWW-Authenticate"] == r'Key realm="of \"bob\""'


def test_a_realm_is_one_line():
    with pytest.raises(ValidationError, match="control characters in a realm"):
        KeyAuth.Config(realm="a\r\nb")


# -- what is hidden


async def test_the_key_is_hidden_in_header_and_query():
    async with serving(hide_credentials=True) as gateway:
        for _ in range(3):
            await gateway.ask("GET", "/?a=1&apikey=x&b=2", headers={"apikey": "k", "c": "3"})
        for _ in range(3):
            await gateway.ask("GET", "/", headers={"apikey": "k", "c": "3"})
        await gateway.ask("GET", "/?api%6Bey=k")
    for got in gateway.received:
        assert "apikey" not in got.headers
        assert got.query in ("a=1&b=2", "")
    assert [got.headers.get("c") for got in gateway.received] == ["3"] * 6 + [None]


async def test_a_wrong_key_is_hidden_as_well():
    gateway = serving(hide_credentials=True, anonymous="bob")
    async with gateway:
        await gateway.ask("GET", "/", headers={"apikey": "nope"})
    assert "apikey" not in gateway.received[0].headers


# -- in the body


def multipart(*fields: tuple[str, str]) -> dict[str, Any]:
    return {"files": [(name, (None, text)) for name, text in fields]}


IN_BODY = [
    {"content": "a=1&apikey=k&b=%C3%A9", "headers": {"Content-Type": FORM}},
    {
        "content": b'{ "a": 1.10, "apikey" : "k", "b": [{}] }',
        "headers": {"Content-Type": "application/json"},
    },
    multipart(("a", "1"), ("apikey", "k"), ("b", "é")),
]


@pytest.mark.parametrize("sent", IN_BODY)
async def test_the_key_may_be_in_the_body(sent: dict[str, Any]):
    async with serving(key_in_body=True) as gateway:
        for _ in range(2):
            assert (await gateway.ask("POST", "/", **sent)).status_code == 200
        assert gateway.received[0].headers["X-Consumer-Username"] == "bob"
    async with serving() as gateway:
        assert problem(await gateway.ask("POST", "/", **sent)) == NONE


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (IN_BODY[0], b"a=1&b=%C3%A9"),
        (IN_BODY[1], b'{"a": 1.10,"b": [{}]}'),
    ],
)
async def test_the_key_is_hidden_in_the_body(sent: dict[str, Any], expected: bytes):
    async with serving(key_in_body=True, hide_credentials=True) as gateway:
        assert (await gateway.ask("POST", "/", **sent)).status_code == 200
    assert gateway.received[0].body == expected


async def test_the_key_is_hidden_in_a_multipart_body():
    async with serving(key_in_body=True, hide_credentials=True) as gateway:
        assert (await gateway.ask("POST", "/", **IN_BODY[2])).status_code == 200
    (got,) = gateway.received
    boundary = got.headers["Content-Type"].partition("boundary=")[2]
    body = got.body.decode()
    assert "apikey" not in body
    assert body.count(boundary) == 3
    assert body.endswith(f"--{boundary}--\r\n")
    assert 'name="a"\r\n\r\n1\r\n' in body


@pytest.mark.parametrize(
    ("content_type", "content", "expected"),
    [
        (FORM, "apikey=k&apikey=k", DUPLICATE),
        (FORM, "apikey=", NONE),
        (FORM, b"apikey=\xff", NONE),
        (FORM, "apikey=nope", UNKNOWN),
        (FORM, "&".join(["a=1"] * 2000 + ["apikey=k"]), NONE),
        ("application/json", '{"apikey": "k", "apikey": "k"}', DUPLICATE),
        ("application/json", '{"apikey": 7}', NONE),
        ("application/json", '{"apikey": "k"', NONE),
        ("application/json", '["apikey", "k"]', NONE),
        ("application/json", "[" * 100_000, NONE),
        ("application/json", '{"apikey":"\\u0000"}', UNKNOWN),
        ("application/json", '{"apikey":"\\ud800"}', UNKNOWN),
        ("multipart/form-data", "apikey=k", NONE),
        ("multipart/form-data; boundary=x", '--x\r\nname="apikey"\r\n\r\nk\r\n--x--', NONE),
        ("text/plain", "apikey=k", NONE),
        ("\xff", "apikey=k", NONE),
    ],
)
async def test_bodies_without_a_good_key(content_type: str, content: Any, expected: str):
    async with serving(key_in_body=True) as gateway:
        headers = {"Content-Type": content_type.encode("latin-1")}
        answer = await gateway.ask("POST", "/", content=content, headers=headers)
        assert problem(answer) == expected


async def test_a_body_is_looked_at_only_where_nothing_goes_before_it():
    content = json.dumps({"apikey": "nope", "pad": "x" * 300_000})
    headers = {"Content-Type": "application/json"}
    async with serving(key_in_body=True, key_names=["apikey", "other"]) as gateway:
        good = await gateway.ask("POST", "/", content=content, headers=headers | {"apikey": "k"})
        assert good.status_code == 200
        answer = await gateway.ask("POST", "/", content=content, headers=headers)
        assert problem(answer) == NONE  # too large to be held in memory
        small = {"json": {"apikey": "nope"}, "headers": {"other": "k"}}
        assert problem(await gateway.ask("POST", "/", **small)) == UNKNOWN

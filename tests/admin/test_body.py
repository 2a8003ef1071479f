"""Request bodies: what is taken, what is refused, and with which words."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.settings import NodeSettings
from gateway.store.store import Store

from .conftest import StandingNode, client_of, created

Client = httpx.AsyncClient
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"[]", "expected an object"),
        (b'"x"', "expected an object"),
        (b'{"host":"a","host":"b"}', 'key "host" appears twice'),
        (b'{"healthchecks":{"active":1,"active":2}}', 'key "active" appears twice'),
        (b'{"host":"\xff"}', "not UTF-8 at byte 10"),
        (b'{"port":NaN}', "NaN is no JSON value"),
        (b'{"port":-Infinity}', "-Infinity is no JSON value"),
        (b'{"port":1e999}', "a number that is too large"),
        (b'{"port":' + b"9" * 1_000_000 + b"}", "a number of more than 300 digits"),
        (b'{"a":' * 33, "nested deeper than 32 levels"),
        (b'{"a":' * 100_000, "nested deeper than 32 levels"),
        (b"[" * 1_000_000, "nested deeper than 32 levels"),
        (b'{"a":[' + b"[]," * 10_000, "more than 10000 values"),
        (b'{"a":[' + b'"",' * 10_000, "more than 10000 values"),
        (
            b"\xef\xbb\xbf{}",
            "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
        ),
        ('{"host":"a"}'.encode("utf-16"), "not UTF-8 at byte 1"),
        (b'{"host":"a"', "Expecting ',' delimiter: line 1 column 12 (char 11)"),
        (
            b'{"host":"' + b'\\"' * 500_000,
            "Unterminated string starting at: line 1 column 9 (char 8)",
        ),
        (b'{"host":"a\\', "Unterminated string starting at: line 1 column 9 (char 8)"),
    ],
)
async def test_json_that_cannot_be_read_is_refused_with_the_reason(
    client: Client, body: bytes, reason: str
):
    response = await client.post("/services", content=body, headers=JSON)
    assert response.status_code == 400
    assert response.json() == {"message": "Cannot parse JSON body", "reason": reason}


async def test_marks_of_structure_in_texts_count_as_text(client: Client):
    text = '[{",\\' * 20_000
    service = await created(client, "/services", host="a", tags=["x"], name=None)
    response = await client.patch(
        f"/services/{service['id']}", json={"ca_certificates": [text], "path": text}
    )
    assert response.json()["fields"].keys() == {"ca_certificates", "path"}


async def test_a_body_of_as_many_values_and_levels_as_may_be_is_read(client: Client):
    tags = [f"tag-{n}" for n in range(9_990)]
    assert (await created(client, "/services", host="a", tags=tags))["tags"] == tags
    deep: Any = "x"
    for _ in range(31):
        deep = [deep]
    response = await client.post("/services", json={"host": deep})
    assert response.json()["fields"] == {"host": "expected a string"}


async def test_a_number_beyond_64_bits_is_told_by_field(client: Client):
    body = b'{"host":"a","port":' + b"9" * 300 + b',"retries":18446744073709551616}'
    response = await client.post("/services", content=body, headers=JSON)
    assert response.json()["fields"] == {
        "port": "value should be between 0 and 65535",
        "retries": "value should be between 0 and 32767",
    }


async def test_an_empty_body_is_no_json_unless_it_says_so(client: Client):
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    explicit = await client.put("/upstreams/pool", content=b"", headers=JSON)
    assert explicit.status_code == 200
    silent = await client.post("/upstreams", content=nothing(), headers=JSON)
    assert (silent.status_code, silent.json()["message"]) == (400, "Cannot parse JSON body")


@pytest.mark.parametrize("content_type", ["text/plain", "APPLICATION/JSON", "application/yaml", ""])
async def test_other_types_are_refused_even_where_the_method_is_too(
    client: Client, content_type: str
):
    for method, path in (("POST", "/services"), ("PUT", "/services"), ("PATCH", "/services/x")):
        response = await client.request(
            method, path, content=b"{}", headers={"Content-Type": content_type}
        )
        assert response.status_code == 415
        assert "application/json" in response.json()["message"]


async def test_a_body_without_a_type_is_refused_but_no_body_is_empty(client: Client):
    request = client.build_request("POST", "/services", content=b"{}")
    assert "content-type" not in request.headers
    assert (await client.send(request)).status_code == 415
    assert (await client.put("/upstreams/pool")).status_code == 200


async def test_two_content_types_are_refused(client: Client):
    headers = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    response = await client.post("/services", content=b"{}", headers=headers)
    assert (response.status_code, response.json()) == (
        400,
        {"message": "Multiple Content-Type headers not allowed"},
    )


async def test_a_compressed_body_is_refused(client: Client):
    headers = {**JSON, "Content-Encoding": "gzip"}
    response = await client.post("/services", content=gzip.compress(b"{}"), headers=headers)
    assert response.status_code == 415
    assert "Content-Encoding" in response.json()["message"]
    assert response.headers["Accept-Encoding"] == "identity"
    headers = {**JSON, "Content-Encoding": "identity"}
    response = await client.post("/services", content=b'{"host":"a"}', headers=headers)
    assert response.status_code == 201


async def test_an_entity_may_have_a_mebibyte_and_no_more(client: Client):
    body = b'{"host":"a","path":"/%s"}'
    path = b"x" * (1_048_576 - len(body) + 2)
    response = await client.post("/services", content=body % path, headers=JSON)
    assert (response.status_code, len(response.json()["path"])) == (201, len(path) + 1)
    response = await client.post("/services", content=body % (path + b"x"), headers=JSON)
    assert response.status_code == 413
    assert "1048576 bytes (the most for one entity)" in response.json()["message"]


async def test_a_body_over_the_limit_is_refused_announced_or_not(store: Store, database_url: str):
    settings = NodeSettings(database_url=database_url, admin_body_limit_bytes=100)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10

    async with client_of(store, StandingNode(settings)) as client:
        for content in (b" " * 101, chunks()):
            response = await client.post("/services", content=content, headers=JSON)
            assert response.status_code == 413
            assert "100 bytes (admin_body_limit_bytes)" in response.json()["message"]
        assert (await client.post("/services", json={"host": "a"})).status_code == 201


async def test_a_route_sent_as_a_form(client: Client):
    service = await created(client, "/services", name="orders", host="a")
    body = (
        "name=orders-r&service.name=orders&paths[]=/orders&methods=GET&methods=POST"
        "&tags=team-a&strip_path=false&regex_priority=7&hosts=&headers.x-tier[1]=gold"
    )
    response = await client.post("/routes", content=body.encode(), headers=FORM)
    assert response.status_code == 201
    expected: dict[str, Any] = {
        "name": "orders-r",
        "service": {"id": service["id"]},
        "paths": ["/orders"],
        "methods": ["GET", "POST"],
        "tags": ["team-a"],
        "strip_path": False,
        "regex_priority": 7,
        "hosts": None,
        "headers": {"x-tier": ["gold"]},
    }
    assert expected.items() <= response.json().items()


async def test_a_service_sent_as_multipart(client: Client):
    response = await client.post(
        "/services",
        data={"name": "orders", "port": "81", "tags": ["a", "b"]},
        files={"host": ("host.txt", b"orders.internal")},
    )
    assert response.status_code == 201
    service = response.json()
    assert (service["host"], service["port"]) == ("orders.internal", 81)
    assert service["tags"] == ["a", "b"]


async def test_a_form_value_of_the_wrong_type_is_told_as_such(client: Client):
    response = await client.post("/services", data={"host": "a", "port": "x", "enabled": "yes"})
    assert response.json()["fields"] == {
        "port": "expected an integer",
        "enabled": "expected a boolean",
    }


PART = b'--b\r\nContent-Disposition: form-data; name="host"\r\n\r\n'
END = b"\r\n--b--\r\n"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"host=%ff", FORM, "not UTF-8"),
        (b"host=\xff", FORM, "not UTF-8"),
        (b"host=" + 100_001 * b"%41", FORM, "more than 100000 percent escapes: send JSON"),
        (PART + b"\xff" + END, MULTIPART, "not UTF-8"),
        (PART + b"a", MULTIPART, "the final boundary is missing"),
        (PART + b"a\r\n" + PART + b"b", MULTIPART, "the final boundary is missing"),
        (b"x", {"Content-Type": "multipart/form-data"}, "No boundary given"),
        (b"x", MULTIPART, None),
        (b"--b\r\n" + b"A: b\r\n" * 100_000, MULTIPART, None),
        (b"--b\r\nA: " + b"b" * 100_000 + b"\r\n\r\n" + END, MULTIPART, None),
        (b"--b\r\nA: b\r\n\r\na" + END, MULTIPART, None),
        (b"--b\r\n\r\na" + END, MULTIPART, None),
    ],
)
async def test_forms_that_cannot_be_read_are_refused_with_the_reason(
    client: Client, body: bytes, headers: dict[str, str], reason: str | None
):
    response = await client.post("/services", content=body, headers=headers)
    answer = response.json()
    assert (response.status_code, answer["message"]) == (400, "Cannot parse form body")
    assert answer["reason"] == reason if reason else answer["reason"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("&".join(f"a{i}=1" for i in range(1001)).encode(), FORM),
        (b"&" * 1000, FORM),
        ((PART + b"a\r\n") * 1001 + END, MULTIPART),
    ],
)
async def test_a_form_of_too_many_fields_is_refused(
    client: Client, body: bytes, headers: dict[str, str]
):
    response = await client.post("/services", content=body, headers=headers)
    assert (response.status_code, response.json()) == (400, {"message": "Too many arguments"})


@pytest.mark.parametrize(
    "charset", ["latin-1", "utf-16", "idna", "undefined", "hex", "unicode_escape", "nope"]
)
async def test_a_form_is_utf_8_whatever_it_says(client: Client, charset: str):
    for content_type, body in (
        (f"{MULTIPART['Content-Type']}; charset={charset}", PART + "caf\xe9".encode() + END),
        (f"{FORM['Content-Type']}; charset={charset}", b"host=caf%c3%a9"),
    ):
        response = await client.post(
            "/services", content=body, headers={"Content-Type": content_type}
        )
        assert response.json()["fields"] == {"host": "invalid value: caf\xe9"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\x00b", "must not contain the NUL character"),
        ("\ud800", "invalid utf-8 character sequence detected at position 1"),
    ],
)
async def test_text_that_postgresql_cannot_hold_is_told_by_field(
    client: Client, text: str, problem: str
):
    body = json.dumps({"host": "a", "name": text, "tags": [text]}).encode()
    response = await client.post("/services", content=body, headers=JSON)
    assert (response.status_code, response.json()["fields"]) == (
        400,
        {"name": problem, "tags": [problem]},
    )

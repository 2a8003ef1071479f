"""Every error answer, to the letter: reference sheet admin-api.md, section 7."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from .conftest import created

Client = httpx.AsyncClient
ID = "0b2df6e2-3d4e-4e3d-8f39-0a1d9f9f9f9f"


def assert_answer(response: httpx.Response, status: int, body: dict[str, Any]) -> None:
    assert (response.status_code, response.json()) == (status, body)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        *("/nope", "/Services", "/targets", f"/targets/{ID}", f"/targets/{ID}/upstream"),
        *("/services//x", "/snis/a/certificate", "/key-auth", "/consumers/a/key-auths"),
        *("/vaults", "/keys", "/key-sets", "/oauth2", "/workspaces", "/consumer_groups"),
        *("/rbac/users", "/licenses", "/partials", "/degraphql_routes", "/kong", "/timers"),
    ],
)
async def test_an_unknown_path_is_not_found(client: Client, method: str, path: str):
    assert_answer(await client.request(method, path), 404, {"message": "Not found"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("PUT", "/services"), ("DELETE", "/services"), ("POST", "/services/x")),
        *(("PATCH", "/consumers"), ("POST", "/consumers/x"), ("PUT", "/consumers/x/acls")),
        *(("POST", "/plugins/enabled"), ("DELETE", "/tags"), ("POST", "/status"), ("PUT", "/")),
    ],
)
async def test_a_method_that_a_path_lacks_is_refused(client: Client, method: str, path: str):
    response = await client.request(method, path)
    assert_answer(response, 405, {"message": "Method not allowed"})
    assert "Allow" not in response.headers


async def test_a_missing_entity(client: Client):
    assert_answer(await client.get(f"/services/{ID}"), 404, {"message": "Not found"})
    assert_answer(await client.get("/services/nope"), 404, {"message": "Not found"})
    assert_answer(
        await client.patch(f"/services/{ID}", json={"host": "a"}),
        404,
        {
            "code": 6,
            "name": "not found",
            "message": f"could not find the entity with primary key '{{id=\"{ID}\"}}'",
            "fields": {"id": ID},
        },
    )
    assert_answer(
        await client.patch("/services/nope", json={"host": "a"}),
        404,
        {
            "code": 6,
            "name": "not found",
            "message": "could not find the entity with '{name=\"nope\"}'",
            "fields": {"name": "nope"},
        },
    )


async def test_a_schema_violation(client: Client):
    assert_answer(
        await client.post("/services", json={"retries": 32768}),
        400,
        {
            "code": 2,
            "name": "schema violation",
            "message": "2 schema violations (host: required field missing; "
            "retries: value should be between 0 and 32767)",
            "fields": {
                "host": "required field missing",
                "retries": "value should be between 0 and 32767",
            },
        },
    )


async def test_an_id_that_is_taken(client: Client):
    await created(client, "/services", id=ID, host="a")
    assert_answer(
        await client.post("/services", json={"id": ID, "host": "a"}),
        400,
        {
            "code": 3,
            "name": "primary key violation",
            "message": f"primary key violation on key '{{id=\"{ID}\"}}'",
            "fields": {"id": ID},
        },
    )


NAME_TAKEN = {
    "code": 5,
    "name": "unique constraint violation",
    "message": "UNIQUE violation detected on '{name=\"orders\"}'",
    "fields": {"name": "orders"},
}


async def test_a_name_that_is_taken(client: Client):
    await created(client, "/services", name="orders", host="a")
    await created(client, "/services", name="other", host="a")
    posted = await client.post("/services", json={"name": "orders", "host": "x"})
    assert_answer(posted, 409, NAME_TAKEN)
    patched = await client.patch("/services/other", json={"name": "orders"})
    assert_answer(patched, 409, NAME_TAKEN)
    put = await client.put(f"/services/{uuid4()}", json={"name": "orders", "host": "x"})
    assert_answer(put, 409, NAME_TAKEN)


async def test_a_target_that_is_there_already(client: Client):
    upstream = await created(client, "/upstreams", name="pool")
    await created(client, "/upstreams/pool/targets", target="a:80")
    assert_answer(
        await client.post("/upstreams/pool/targets", json={"target": "a:80"}),
        409,
        {
            "code": 5,
            "name": "unique constraint violation",
            "message": "UNIQUE violation detected on "
            f'\'{{target="a:80",upstream={{id="{upstream["id"]}"}}}}\'',
            "fields": {"target": "a:80", "upstream": {"id": upstream["id"]}},
        },
    )


@pytest.mark.parametrize(
    ("path", "given", "field", "table"),
    [
        ("/routes", {"paths": ["/"], "service": {"id": ID}}, "service", "services"),
        (
            "/services",
            {"url": "https://a", "client_certificate": {"id": ID}},
            "client_certificate",
            "certificates",
        ),
    ],
)
async def test_a_reference_to_no_entity(
    client: Client, path: str, given: dict[str, Any], field: str, table: str
):
    assert_answer(
        await client.post(path, json=given),
        400,
        {
            "code": 4,
            "name": "foreign key violation",
            "message": f"the foreign key '{{id=\"{ID}\"}}' does not reference "
            f"an existing '{table}' entity.",
            "fields": {field: {"id": ID}},
        },
    )


async def test_a_reference_to_no_name(client: Client):
    text = (
        "the foreign key cannot be resolved with '{name=\"nope\"}' "
        "for an existing 'services' entity"
    )
    assert_answer(
        await client.post("/routes", json={"paths": ["/"], "service": {"name": "nope"}}),
        400,
        {
            "code": 13,
            "name": "foreign keys unresolved",
            "message": f"foreign key unresolved (service.name: {text})",
            "fields": {"service": {"name": text}},
        },
    )


async def test_a_service_that_is_still_needed(client: Client):
    await created(client, "/services", name="orders", host="a")
    await created(client, "/services/orders/routes", paths=["/"])
    assert_answer(
        await client.delete("/services/orders"),
        400,
        {
            "code": 4,
            "name": "foreign key violation",
            "message": "an existing 'routes' entity references this 'services' entity",
            "fields": {"@referenced_by": "routes"},
        },
    )


async def test_a_segment_that_cannot_be_a_name(client: Client):
    text = (
        "invalid value 'a b': the only accepted ascii characters are alphanumerics "
        "or ., -, _, and ~"
    )
    refusal = {"code": 10, "name": "invalid unique name", "message": text}
    assert_answer(await client.get("/services/a%20b"), 400, refusal)
    assert_answer(await client.put("/services/a b", json={}), 400, refusal)
    assert_answer(await client.get("/services/a%20b/routes"), 400, refusal)


@pytest.mark.parametrize(
    ("query", "code", "name", "message"),
    [
        ("size=x", 9, "invalid size", "size must be a number"),
        ("size=", 9, "invalid size", "size must be a number"),
        ("size=0", 9, "invalid size", "size must be an integer between 1 and 1000"),
        ("size=1001", 9, "invalid size", "size must be an integer between 1 and 1000"),
        ("size=1.5", 9, "invalid size", "size must be an integer between 1 and 1000"),
        ("offset=%21", 7, "invalid offset", "'!' is not a valid offset: bad base64 encoding"),
        ("offset=YWJj", 7, "invalid offset", "'YWJj' is not a valid offset: bad json encoding"),
        ("offset=WzFd", 7, "invalid offset", "'WzFd' is not a valid offset: bad json encoding"),
    ],
)
async def test_a_page_that_cannot_be(
    client: Client, query: str, code: int, name: str, message: str
):
    body = {"code": code, "name": name, "message": message}
    assert_answer(await client.get(f"/services?{query}"), 400, body)


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ("a,b/c", "invalid filter syntax"),
        (",", "invalid filter syntax"),
        ("a,,b", "invalid filter syntax"),
        ("%00", "invalid filter syntax"),
        ("", "cannot be null"),
        ("a,b,c,d,e,f", "cannot query more than 5 tags"),
    ],
)
async def test_a_tag_filter_that_cannot_be_read(client: Client, tags: str, text: str):
    assert_answer(
        await client.get(f"/services?tags={tags}"),
        400,
        {
            "code": 11,
            "name": "invalid options",
            "message": f"invalid option (tags: {text})",
            "options": {"tags": text},
        },
    )


async def test_too_many_arguments(client: Client):
    response = await client.get("/services?" + "&".join(f"a{i}=1" for i in range(1001)))
    assert_answer(response, 400, {"message": "Too many arguments"})

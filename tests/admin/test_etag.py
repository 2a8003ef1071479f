"""ETags name the state of an entity; a change that asks for another state is refused."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from gateway.admin.errors import ApiError
from gateway.admin.etag import Preconditions, etag_of
from tests.proxy.certificates import Authority

from .conftest import created

Client = httpx.AsyncClient
PAIR = Authority().issue("a.example")
ROW = {"id": "a"}
ETAG = etag_of(ROW)


def conditions(**headers: str) -> Preconditions:
    raw = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
    return Preconditions.of(Request({"type": "http", "headers": raw}))


async def etag(client: Client, path: str) -> str:
    return (await client.get(path)).headers["ETag"]


# -- the headers


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("*", {"*"}),
        ('"a"', {'"a"'}),
        ('""', {'""'}),
        ('"a", "b,c" ,W/"d"', {'"a"', '"b,c"', 'W/"d"'}),
        (',, "a",', {'"a"'}),
        ('"\xe9"', {'"\xe9"'}),
    ],
)
def test_a_condition_is_a_list_of_tags(value: str, tags: set[str]):
    assert conditions(if_match=value) == Preconditions(frozenset(tags), None)
    assert conditions(if_none_match=value) == Preconditions(None, frozenset(tags))


@pytest.mark.parametrize(
    "value", ["", ",", "a", '"a', 'a"', '"a" "b"', '*, "a"', '"a", *', "w/'a'", 'w/"a"', '"a b"']
)
@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_a_condition_that_cannot_be_read_says_what_is_expected(header: str, value: str):
    with pytest.raises(ApiError) as error:
        conditions(**{header.replace("-", "_").lower(): value})
    assert error.value.status == 400
    assert error.value.body["message"] == (
        f"{header}: expected * or tags in double quotes, as ETag gives them"
    )


def test_the_lines_of_a_header_are_one_list():
    headers = [(b"if-match", b'"a"'), (b"if-match", b'"b"')]
    found = Preconditions.of(Request({"type": "http", "headers": headers}))
    assert found.if_match == {'"a"', '"b"'}


@pytest.mark.parametrize(
    ("headers", "if_there", "if_not"),
    [
        ({}, True, True),
        ({"if_match": "*"}, True, False),
        ({"if_match": f'"other", {ETAG}'}, True, False),
        ({"if_match": '"other"'}, False, False),
        ({"if_match": f"W/{ETAG}"}, False, False),
        ({"if_none_match": "*"}, False, True),
        ({"if_none_match": ETAG}, False, True),
        ({"if_none_match": f"W/{ETAG}"}, False, True),
        ({"if_none_match": '"other"'}, True, True),
        ({"if_match": ETAG, "if_none_match": ETAG}, False, False),
    ],
)
def test_what_a_condition_lets_pass(headers: dict[str, str], if_there: bool, if_not: bool):
    for stored, passes in ((ROW, if_there), (None, if_not)):
        with nullcontext() if passes else pytest.raises(ApiError) as refusal:
            conditions(**headers).check(stored, "service")
        assert refusal is None or refusal.value.status == 412


# -- which state a tag names


async def test_all_answers_about_one_state_have_the_same_etag(client: Client):
    made = await client.post("/services", json={"name": "orders", "host": "a"})
    route = await created(client, "/services/orders/routes", name="all", paths=["/"])
    tag = made.headers["ETag"]
    assert tag.startswith('"')
    for path in ("/services/orders", f"/services/{made.json()['id']}", "/routes/all/service"):
        assert await etag(client, path) == tag
        assert (await client.head(path)).headers["ETag"] == tag
    assert await etag(client, "/services/orders/routes/all") == await etag(
        client, f"/routes/{route['id']}"
    )
    assert "ETag" not in (await client.get("/services")).headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/services/orders"),
        ("PATCH", "/services/orders"),
        ("PUT", "/routes/all/service"),
        ("PATCH", "/routes/all/service"),
    ],
)
async def test_a_write_answers_with_the_new_etag(client: Client, method: str, path: str):
    service = await created(client, "/services", name="orders", host="a")
    await created(client, "/routes", name="all", paths=["/"], service={"id": service["id"]})
    before = await etag(client, path)
    written = await client.request(method, path, json={"name": "orders", "host": "b"})
    assert written.headers["ETag"] == await etag(client, path) != before


async def test_scripts_in_a_browser_may_read_it(client: Client):
    made = await client.post("/services", json={"host": "a"})
    exposed = made.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"ETag", "X-Gateway-Config-Version", "X-Gateway-Admin-Request-Id"} <= {*exposed}


async def test_an_etag_stays_while_others_change(client: Client):
    await created(client, "/services", name="orders", host="a")
    before = await etag(client, "/services/orders")
    await created(client, "/services/orders/routes", paths=["/"])
    await created(client, "/services", host="b")
    assert await etag(client, "/services/orders") == before


async def test_the_etag_of_a_certificate_is_also_about_its_names(client: Client):
    pair = {"cert": PAIR.cert_pem, "key": PAIR.key_pem}
    made = await client.post("/certificates", json={**pair, "snis": ["b.example", "a.example"]})
    path = f"/certificates/{made.json()['id']}"
    first = made.headers["ETag"]
    assert await etag(client, "/certificates/a.example") == first == await etag(client, path)
    await created(client, f"{path}/snis", name="c.example")
    second = await etag(client, path)
    patched = await client.patch(path, json={"tags": ["x"]})
    assert len({first, second, patched.headers["ETag"]}) == 3
    service = {"host": "a", "protocol": "https", "client_certificate": {"id": made.json()["id"]}}
    await created(client, "/services", name="orders", **service)
    assert await etag(client, "/services/orders/client_certificate") == patched.headers["ETag"]


async def test_the_etag_of_a_key_stays_while_its_time_runs_out(client: Client):
    await created(client, "/consumers", username="ann")
    key = await client.post("/consumers/ann/key-auth", json={"key": "k", "ttl": 1000})
    path = f"/key-auths/{key.json()['id']}"

    async def has_run() -> bool:
        return (await client.get(path)).json()["ttl"] < key.json()["ttl"]

    async with asyncio.timeout(30):
        while not await has_run():  # noqa: ASYNC110 - time itself is the subject
            await asyncio.sleep(0.05)
    assert await etag(client, path) == key.headers["ETag"]
    renewed = await client.patch(path, json={"ttl": 1000})
    assert renewed.headers["ETag"] != key.headers["ETag"]


# -- readers


async def test_who_has_it_already_is_sent_no_body(client: Client):
    await created(client, "/services", name="orders", host="a")
    await created(client, "/services/orders/routes", name="all", paths=["/"])
    for path in ("/services/orders", "/routes/all/service", "/services/orders/routes/all"):
        tag = await etag(client, path)
        for method in ("GET", "HEAD"):
            for known in (tag, f"W/{tag}", f'"old", {tag}', "*"):
                same = await client.request(method, path, headers={"If-None-Match": known})
                assert (same.status_code, same.content) == (304, b"")
                assert same.headers["ETag"] == tag
        other = await client.get(path, headers={"If-None-Match": '"old"'})
        assert other.status_code == 200


# -- writers


CHANGES: list[tuple[str, str]] = [
    ("PUT", "/services/orders"),
    ("PATCH", "/services/orders"),
    ("PUT", "/routes/all/service"),
    ("PATCH", "/routes/all/service"),
    ("PUT", "/services/orders/routes/all"),
    ("PATCH", "/services/orders/routes/all"),
    ("DELETE", "/services/orders/routes/all"),
    ("DELETE", "/routes/all"),
    ("PUT", "/upstreams/pool/targets/a.test:80"),
    ("PATCH", "/upstreams/pool/targets/a.test:80"),
    ("DELETE", "/upstreams/pool/targets/a.test:80"),
    ("PATCH", "/certificates/a.example"),
    ("DELETE", "/certificates/a.example"),
]

BODIES: dict[str, dict[str, Any]] = {
    "/services/orders": {"host": "b"},
    "/routes/all/service": {"host": "b"},
    "/services/orders/routes/all": {"paths": ["/b"]},
    "/upstreams/pool/targets/a.test:80": {"weight": 7},
    "/certificates/a.example": {"tags": ["b"]},
}


async def seeded(client: Client) -> None:
    await created(client, "/services", name="orders", host="a")
    await created(client, "/services/orders/routes", name="all", paths=["/"])
    await created(client, "/upstreams", name="pool")
    await created(client, "/upstreams/pool/targets", target="a.test:80")
    pair = {"cert": PAIR.cert_pem, "key": PAIR.key_pem}
    await created(client, "/certificates", **pair, snis=["a.example"])


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_change_is_made_only_to_the_state_that_was_seen(
    client: Client, method: str, path: str
):
    await seeded(client)
    tag = await etag(client, path)
    body = None if method == "DELETE" else BODIES[path]

    async def change(condition: str) -> httpx.Response:
        return await client.request(method, path, json=body, headers={"If-Match": condition})

    for condition in ('"old"', f"W/{tag}"):
        refused = await change(condition)
        assert refused.status_code == 412
        assert "was changed since" in refused.json()["message"]
    assert (await change("orders")).status_code == 400
    assert (await change(f'"old", {tag}')).is_success
    assert not (await change(tag)).is_success


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/services/orders", 412),
        ("PUT", "/certificates/a.example", 412),
        ("DELETE", "/services/orders", 412),
        ("PATCH", "/services/orders", 404),
        ("PATCH", "/certificates/a.example", 404),
        ("DELETE", "/routes/all/service", 404),
    ],
)
async def test_what_is_gone_is_not_made_anew(client: Client, method: str, path: str, status: int):
    body = {"PUT": {"host": "a"}, "PATCH": {"tags": ["a"]}, "DELETE": None}[method]
    if "certificates" in path and method == "PUT":
        body = {"cert": PAIR.cert_pem, "key": PAIR.key_pem}
    for condition in ("*", '"old"'):
        response = await client.request(method, path, json=body, headers={"If-Match": condition})
        assert response.status_code == status
        if status == 412:
            assert "is not there (any more)" in response.json()["message"]
    assert (await client.get("/services")).json()["data"] == []
    assert (await client.get("/certificates")).json()["data"] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/services/orders", {"host": "a"}),
        ("/certificates/a.example", {"cert": PAIR.cert_pem, "key": PAIR.key_pem}),
    ],
)
async def test_a_put_may_insist_on_creating(client: Client, path: str, body: dict[str, str]):
    only_new = {"If-None-Match": "*"}
    first = await client.put(path, json=body, headers=only_new)
    second = await client.put(path, json=body, headers=only_new)
    assert (first.status_code, second.status_code) == (200, 412)
    assert "is there already" in second.json()["message"]
    assert await etag(client, path) == first.headers["ETag"]


async def test_a_parent_can_be_linked_once(client: Client):
    await created(client, "/routes", name="all", paths=["/"])
    put = {"json": {"host": "a"}, "headers": {"If-None-Match": "*"}}
    answers = [await client.put("/routes/all/service", **put) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 412]


async def test_of_many_with_the_same_etag_one_wins(client: Client):
    made = await client.post("/services", json={"name": "orders", "host": "a"})
    condition = {"If-Match": made.headers["ETag"]}
    answers = await asyncio.gather(
        *(
            client.request(method, "/services/orders", json={"host": f"h{n}"}, headers=condition)
            for n, method in enumerate(["PUT", "PATCH"] * 10)
        )
    )
    (winner,) = (answer for answer in answers if answer.status_code == 200)
    assert {answer.status_code for answer in answers} == {200, 412}
    assert await etag(client, "/services/orders") == winner.headers["ETag"]


async def test_a_refused_change_makes_no_version(client: Client):
    made = await client.post("/services", json={"name": "orders", "host": "a"})
    refused = await client.delete("/services/orders", headers={"If-Match": '"old"'})
    assert "X-Gateway-Config-Version" not in refused.headers
    version = (await client.get("/cluster")).json()["config_version"]
    assert version == int(made.headers["X-Gateway-Config-Version"])

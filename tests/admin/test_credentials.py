"""Credentials: below their consumer and by themselves, by key, name or group."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from argon2 import PasswordHasher

from .conftest import created, ids

Client = httpx.AsyncClient
NOT_FOUND = {"message": "Not found"}
KINDS = {
    "key-auth": ("key-auths", "key", {}),
    "basic-auth": ("basic-auths", "username", {"password": "secret"}),
    "jwt": ("jwts", "key", {}),
    "hmac-auth": ("hmac-auths", "username", {}),
}
"""Path below a consumer: the path of all, what names one, what else must be given."""
of_each_kind = pytest.mark.parametrize("nested", KINDS)


@pytest.fixture(autouse=True)
async def bob(client: Client) -> dict[str, Any]:
    return await created(client, "/consumers", username="bob")


@pytest.fixture
async def eve(client: Client) -> dict[str, Any]:
    return await created(client, "/consumers", username="eve")


# -- each kind


@of_each_kind
async def test_it_is_found_by_its_key_and_by_its_id(
    client: Client, bob: dict[str, Any], nested: str
):
    collection, key, given = KINDS[nested]
    credential = await created(client, f"/consumers/bob/{nested}", **given, **{key: "k 1/é"})
    assert credential["consumer"] == {"id": bob["id"]}
    for segment in (credential["id"], "k%201%2F%C3%A9"):
        for path in (f"/consumers/bob/{nested}/{segment}", f"/{collection}/{segment}"):
            assert (await client.get(path)).json() == credential
        assert (await client.get(f"/{collection}/{segment}/consumer")).json() == bob
    for path in (f"/consumers/bob/{nested}", f"/{collection}"):
        assert (await client.get(path)).json() == {"data": [credential], "next": None}


@of_each_kind
async def test_it_may_name_its_consumer_in_each_way(client: Client, nested: str):
    collection, key, given = KINDS[nested]
    consumer = await created(client, "/consumers", username="ann", custom_id="42")
    for number, reference in enumerate(
        ({"id": consumer["id"]}, {"username": "ann"}, {"custom_id": "42"}, consumer)
    ):
        credential = await created(
            client, f"/{collection}", consumer=reference, **given, **{key: f"k{number}"}
        )
        assert credential["consumer"] == {"id": consumer["id"]}


@of_each_kind
async def test_it_belongs_to_the_consumer_in_the_url(
    client: Client, bob: dict[str, Any], eve: dict[str, Any], nested: str
):
    _, key, given = KINDS[nested]
    credential = await created(
        client, f"/consumers/bob/{nested}", consumer={"username": "eve"}, **given, **{key: "k"}
    )
    assert credential["consumer"] == {"id": bob["id"]}
    for refused in (
        await client.get(f"/consumers/eve/{nested}/k"),
        await client.patch(f"/consumers/eve/{nested}/k", json={"tags": []}),
        await client.delete(f"/consumers/eve/{nested}/k"),
        await client.post(f"/consumers/nobody/{nested}", json=given),
        await client.put(f"/consumers/nobody/{nested}/k", json=given),
        await client.get(f"/consumers/nobody/{nested}"),
    ):
        assert (refused.status_code, refused.json()) == (404, NOT_FOUND)
    moved = await client.put(f"/consumers/eve/{nested}/k", json=given)
    assert (moved.json()["id"], moved.json()["consumer"]) == (credential["id"], {"id": eve["id"]})


@of_each_kind
async def test_put_creates_and_replaces_and_delete_removes(client: Client, nested: str):
    collection, key, given = KINDS[nested]
    made = await client.put(f"/consumers/bob/{nested}/k", json={**given, "tags": ["a"]})
    kept = await client.put(f"/consumers/bob/{nested}/k", json={**given, key: "other"})
    assert (made.status_code, kept.status_code) == (200, 200)
    assert (made.json()["id"], "k", None) == (
        kept.json()["id"],
        kept.json()[key],
        kept.json()["tags"],
    )
    by_id = await client.put(
        f"/{collection}/{uuid4()}", json={**given, key: "k2", "consumer": {"username": "bob"}}
    )
    assert by_id.status_code == 200
    assert (await client.delete(f"/consumers/bob/{nested}/k")).status_code == 204
    assert (await client.delete(f"/consumers/bob/{nested}/k")).status_code == 404
    assert (await client.delete(f"/{collection}/k2")).status_code == 204
    assert (await client.delete(f"/{collection}/k2")).status_code == 204


@of_each_kind
async def test_its_key_is_taken_once_whoever_has_it(
    client: Client, eve: dict[str, Any], nested: str
):
    _, key, given = KINDS[nested]
    await created(client, f"/consumers/bob/{nested}", **given, **{key: "k"})
    response = await client.post(f"/consumers/{eve['id']}/{nested}", json={**given, key: "k"})
    assert (response.status_code, response.json()) == (
        409,
        {
            "code": 5,
            "name": "unique constraint violation",
            "message": f"UNIQUE violation detected on '{{{key}=\"k\"}}'",
            "fields": {key: "k"},
        },
    )


@of_each_kind
async def test_its_consumer_must_be_there(client: Client, nested: str):
    collection, key, given = KINDS[nested]
    id_ = str(uuid4())
    missing = await client.post(f"/{collection}", json={**given, key: "k"})
    assert missing.json()["fields"] == {"consumer": "required field missing"}
    unknown = await client.post(f"/{collection}", json={**given, key: "k", "consumer": {"id": id_}})
    assert (unknown.json()["code"], unknown.json()["fields"]) == (4, {"consumer": {"id": id_}})
    unnamed = await client.post(
        f"/{collection}", json={**given, key: "k", "consumer": {"username": "nobody"}}
    )
    assert unnamed.json()["code"] == 13
    assert unnamed.json()["message"] == (
        "foreign key unresolved (consumer.username: the foreign key cannot be resolved with "
        "'{username=\"nobody\"}' for an existing 'consumers' entity)"
    )


@of_each_kind
async def test_they_are_listed_in_pages_and_by_tags(client: Client, nested: str):
    collection, key, given = KINDS[nested]
    made = [
        await created(client, f"/consumers/bob/{nested}", **given, **{key: f"k{n}"}, tags=["a"])
        for n in range(3)
    ]
    known = sorted(credential["id"] for credential in made)
    page = (await client.get(f"/consumers/bob/{nested}?size=2&tags=none")).json()
    assert page["next"] == f"/consumers/bob/{nested}?offset={page['offset']}"
    rest = (await client.get(page["next"])).json()
    assert [row["id"] for row in page["data"] + rest["data"]] == known
    assert len(await ids(client, f"/{collection}?tags=a")) == 3
    assert await ids(client, f"/{collection}?tags=none") == []


@of_each_kind
async def test_a_segment_that_cannot_be_a_key(client: Client, nested: str):
    collection, key, _ = KINDS[nested]
    for path in (f"/{collection}/%00", f"/consumers/bob/{nested}/%00"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (
            400,
            {
                "code": 10,
                "name": f"invalid unique {key}",
                "message": "must not contain the NUL character",
            },
        )


@of_each_kind
async def test_a_change_of_nothing_is_told_as_such(client: Client, nested: str):
    collection, key, _ = KINDS[nested]
    response = await client.patch(f"/{collection}/k", json={})
    assert (response.status_code, response.json()["fields"]) == (404, {key: "k"})


# -- what is made when it is absent


@pytest.mark.parametrize(
    ("nested", "given", "made"),
    [
        ("key-auth", {}, ["key"]),
        ("jwt", {}, ["key", "secret"]),
        ("hmac-auth", {"username": "bob"}, ["secret"]),
    ],
)
async def test_put_by_id_makes_new_secrets_where_none_are_given(
    client: Client, nested: str, given: dict[str, Any], made: list[str]
):
    path = f"/consumers/bob/{nested}/{uuid4()}"
    first, second = [(await client.put(path, json=given)).json() for _ in range(2)]
    for name in made:
        assert len(first[name]) == 32
        assert first[name] != second[name]
    patched = (await client.patch(path, json={"tags": ["a"]})).json()
    assert patched == second | {"tags": ["a"]}


async def test_put_by_key_keeps_the_key(client: Client):
    first, second = [
        (await client.put("/consumers/bob/jwt/mine", json={})).json() for _ in range(2)
    ]
    assert first["key"] == second["key"] == "mine"
    assert first["secret"] != second["secret"]


# -- passwords


async def test_of_a_password_a_hash_is_kept_and_shown(client: Client):
    made = await created(client, "/consumers/bob/basic-auth", username="bob", password="secret")
    assert PasswordHasher().verify(made["password"], "secret")
    path = "/consumers/bob/basic-auth/bob"
    patched = (await client.patch(path, json={"tags": ["a"]})).json()
    assert patched["password"] == made["password"]
    changed = (await client.patch(path, json={"password": "other"})).json()
    assert PasswordHasher().verify(changed["password"], "other")
    again = (await client.put(path, json={"password": "other"})).json()
    assert PasswordHasher().verify(again["password"], "other")
    assert again["password"] != changed["password"]


async def test_what_was_read_can_be_written_again(client: Client):
    made = await created(client, "/consumers/bob/basic-auth", username="bob", password="secret")
    put = await client.put(f"/basic-auths/{made['id']}", json=made)
    assert put.json() == made


async def test_put_without_a_password_is_refused(client: Client):
    response = await client.put("/consumers/bob/basic-auth/bob", json={})
    assert response.json()["fields"] == {"password": "required field missing"}


# -- keys that end


async def expire(database_url: str) -> None:
    """Let the time pass that keys have left."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("UPDATE keyauth_credentials SET expires_at = now()")


@pytest.mark.parametrize("given", [{}, {"ttl": None}, {"ttl": 0}])
async def test_a_key_is_for_ever(client: Client, given: dict[str, Any]):
    key = await created(client, "/consumers/bob/key-auth", **given)
    assert key["ttl"] is None


async def test_a_key_shows_the_seconds_it_has_left(client: Client):
    await created(client, "/consumers/bob/key-auth", key="k", ttl=1000)
    path = "/consumers/bob/key-auth/k"
    assert 900 < (await client.get(path)).json()["ttl"] <= 1000
    assert 900 < (await client.patch(path, json={"tags": ["a"]})).json()["ttl"] <= 1000
    assert 1900 < (await client.patch(path, json={"ttl": 2000})).json()["ttl"] <= 2000
    assert (await client.patch(path, json={"ttl": None})).json()["ttl"] is None
    assert 900 < (await client.put(path, json={"ttl": 1000})).json()["ttl"] <= 1000
    assert (await client.put(path, json={})).json()["ttl"] is None


async def test_a_key_that_has_ended_is_not_there(client: Client, database_url: str):
    key = await created(client, "/consumers/bob/key-auth", key="k", ttl=1000, tags=["a"])
    await expire(database_url)
    for path in ("/consumers/bob/key-auth/k", f"/key-auths/{key['id']}", "/key-auths/k/consumer"):
        assert (await client.get(path)).status_code == 404
    for path in ("/consumers/bob/key-auth", "/key-auths", "/key-auths?tags=a"):
        assert await ids(client, path) == []
    assert (await client.patch("/key-auths/k", json={"ttl": 0})).status_code == 404
    assert (await client.delete("/consumers/bob/key-auth/k")).status_code == 404


@pytest.mark.parametrize("way", ["post", "put", "put by id", "patch"])
async def test_a_key_that_has_ended_is_in_nobodys_way(
    client: Client, eve: dict[str, Any], database_url: str, way: str
):
    old = await created(client, "/consumers/bob/key-auth", key="k", ttl=1000)
    await expire(database_url)
    match way:
        case "post":
            response = await client.post("/consumers/eve/key-auth", json={"key": "k"})
        case "put":
            response = await client.put("/consumers/eve/key-auth/k", json={})
        case "put by id":
            path = f"/consumers/eve/key-auth/{old['id']}"
            response = await client.put(path, json={"key": "k"})
        case _:
            await client.put("/consumers/eve/key-auth/other", json={})
            await expire_only(database_url, "k")
            response = await client.patch("/key-auths/other", json={"key": "k"})
    assert response.status_code in (200, 201), response.text
    assert (response.json()["key"], response.json()["ttl"]) == ("k", None)
    assert response.json()["consumer"] == {"id": eve["id"]}


async def expire_only(database_url: str, key: str) -> None:
    """Put a key that has ended there, as the last write has tidied it away."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "INSERT INTO keyauth_credentials (consumer_id, key, expires_at) "
            "SELECT id, %s, now() FROM consumers LIMIT 1",
            [key],
        )


# -- groups


async def test_a_membership_is_called_by_its_group_below_its_consumer(
    client: Client, bob: dict[str, Any]
):
    acl = await created(client, "/consumers/bob/acls", group="a b/é")
    assert acl["consumer"] == {"id": bob["id"]}
    for path in (
        "/consumers/bob/acls/a%20b%2F%C3%A9",
        f"/consumers/bob/acls/{acl['id']}",
        f"/acls/{acl['id']}",
    ):
        assert (await client.get(path)).json() == acl
    assert (await client.get(f"/acls/{acl['id']}/consumer")).json() == bob


async def test_by_itself_a_membership_has_only_an_id(client: Client):
    await created(client, "/consumers/bob/acls", group="admins")
    response = await client.get("/acls/admins")
    assert (response.status_code, response.json()) == (
        400,
        {
            "code": 1,
            "name": "invalid primary key",
            "message": "invalid primary key: '{id=\"admins\"}'",
            "fields": {"id": "expected a valid UUID"},
        },
    )


async def test_put_by_group_creates_or_keeps_the_membership_of_that_consumer(
    client: Client, eve: dict[str, Any]
):
    bobs = await client.put("/consumers/bob/acls/admins", json={"tags": ["a"]})
    eves = await client.put("/consumers/eve/acls/admins")
    assert (bobs.status_code, eves.status_code) == (200, 200)
    assert bobs.json()["id"] != eves.json()["id"]
    assert eves.json()["consumer"] == {"id": eve["id"]}
    kept = (await client.put("/consumers/bob/acls/admins", json={"group": "other"})).json()
    assert (kept["id"], kept["group"], kept["tags"]) == (bobs.json()["id"], "admins", None)
    assert len(await ids(client, "/acls")) == 2


async def test_put_by_group_minds_what_its_client_has_seen(client: Client, eve: dict[str, Any]):
    await client.put("/consumers/eve/acls/admins")
    new = await client.put("/consumers/bob/acls/admins", headers={"If-None-Match": "*"})
    assert new.status_code == 200
    again = await client.put("/consumers/bob/acls/admins", headers={"If-None-Match": "*"})
    assert again.status_code == 412
    same = await client.put("/consumers/bob/acls/admins", headers={"If-Match": new.headers["ETag"]})
    assert same.status_code == 200


async def test_put_by_id_moves_a_membership(client: Client, eve: dict[str, Any]):
    acl = await created(client, "/consumers/bob/acls", group="admins")
    moved = await client.put(f"/consumers/eve/acls/{acl['id']}", json={"group": "users"})
    assert (moved.json()["group"], moved.json()["consumer"]) == ("users", {"id": eve["id"]})
    missing = await client.put(f"/consumers/eve/acls/{acl['id']}", json={})
    assert missing.json()["fields"] == {"group": "required field missing"}


async def test_a_membership_is_patched_and_deleted_by_group(client: Client, eve: dict[str, Any]):
    await created(client, "/consumers/bob/acls", group="admins")
    patched = await client.patch("/consumers/bob/acls/admins", json={"tags": ["a"]})
    assert patched.json()["tags"] == ["a"]
    for refused in (
        await client.get("/consumers/eve/acls/admins"),
        await client.patch("/consumers/eve/acls/admins", json={}),
        await client.delete("/consumers/eve/acls/admins"),
        await client.delete("/consumers/nobody/acls/admins"),
    ):
        assert (refused.status_code, refused.json()) == (404, NOT_FOUND)
    assert (await client.delete("/consumers/bob/acls/admins")).status_code == 204
    assert await ids(client, "/acls") == []


async def test_a_consumer_is_in_a_group_once(client: Client, bob: dict[str, Any]):
    await created(client, "/consumers/bob/acls", group="admins")
    twice = await client.post("/consumers/bob/acls", json={"group": "admins"})
    await created(client, "/consumers/bob/acls", group="users")
    patched = await client.patch("/consumers/bob/acls/users", json={"group": "admins"})
    for response in (twice, patched):
        assert (response.status_code, response.json()["message"]) == (
            409,
            f'UNIQUE violation detected on \'{{consumer={{id="{bob["id"]}"}},group="admins"}}\'',
        )
        assert response.json()["fields"] == {"consumer": {"id": bob["id"]}, "group": "admins"}


async def test_a_group_that_cannot_be(client: Client):
    response = await client.put("/consumers/bob/acls/%00")
    assert response.json() == {
        "code": 10,
        "name": "invalid unique group",
        "message": "must not contain the NUL character",
    }


# -- as forms


@pytest.mark.parametrize(
    ("path", "form", "fields"),
    [
        ("key-auth", "ttl=1000&key=k", {"key": "k"}),
        ("key-auth", "ttl=", {"ttl": None}),
        ("key-auth", "tags=a&tags=b", {"tags": ["a", "b"]}),
        ("jwt", "algorithm=HS512&key=7", {"algorithm": "HS512", "key": "7"}),
        ("acls", "group=7&tags[]=a", {"group": "7", "tags": ["a"]}),
    ],
)
async def test_a_form_is_read_as_the_fields_say(
    client: Client, path: str, form: str, fields: dict[str, Any]
):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await client.post(f"/consumers/bob/{path}", content=form, headers=headers)
    assert response.status_code == 201, response.text
    assert response.json() | fields == response.json()
    if "ttl=1000" in form:
        assert 900 < response.json()["ttl"] <= 1000

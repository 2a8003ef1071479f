"""Consumers: called by their name, or by what another system calls them."""

from __future__ import annotations

import httpx
import pytest

from .conftest import created, ids

Client = httpx.AsyncClient
NOT_FOUND = {"message": "Not found"}
UNEMPTY = {"message": "custom_id must be an unempty string"}


async def test_a_consumer_is_complete_and_can_be_read_back(client: Client):
    consumer = await created(client, "/consumers", username="bob", custom_id="42", tags=["a"])
    assert consumer.keys() == {"id", "created_at", "updated_at", "tags", "username", "custom_id"}
    for segment in (consumer["id"], "bob"):
        assert (await client.get(f"/consumers/{segment}")).json() == consumer


async def test_put_by_name_needs_nothing_else(client: Client):
    made = await client.put("/consumers/bob", json={})
    assert (made.status_code, made.json()["username"]) == (200, "bob")
    kept = await client.put("/consumers/bob", json={"custom_id": "42", "username": "eve"})
    assert kept.json()["id"] == made.json()["id"]
    assert (kept.json()["username"], kept.json()["custom_id"]) == ("bob", "42")
    bare = await client.put("/consumers/alice")
    assert (bare.status_code, bare.json()["username"]) == (200, "alice")


@pytest.mark.parametrize(
    ("segment", "username"),
    [
        ("a%20b", "a b"),
        ("a%2Fb", "a/b"),
        ("caf%C3%A9", "café"),
        ("bob@example.com", "bob@example.com"),
        ("%25", "%"),
        ("a:b;c=d", "a:b;c=d"),
    ],
)
async def test_a_name_may_be_any_text(client: Client, segment: str, username: str):
    assert (await client.put(f"/consumers/{segment}", json={})).json()["username"] == username
    assert (await client.get(f"/consumers/{segment}")).json()["username"] == username
    assert (await client.delete(f"/consumers/{segment}")).status_code == 204


async def test_without_a_name_it_is_refused(client: Client):
    text = "at least one of these fields must be non-empty: 'custom_id', 'username'"
    response = await client.post("/consumers", json={})
    assert (response.status_code, response.json()) == (
        400,
        {
            "code": 2,
            "name": "schema violation",
            "message": f"schema violation ({text})",
            "fields": {"@entity": [text]},
        },
    )
    await created(client, "/consumers", username="bob")
    patched = await client.patch("/consumers/bob", json={"username": None})
    assert patched.json()["fields"] == {"@entity": [f"when updating, {text}"]}


async def test_both_names_are_taken_once(client: Client):
    await created(client, "/consumers", username="bob", custom_id="42")
    for given in ({"username": "bob"}, {"custom_id": "42"}):
        response = await client.post("/consumers", json=given)
        assert (response.status_code, response.json()["fields"]) == (409, given)


async def test_the_name_another_system_has_selects_one(client: Client):
    await created(client, "/consumers", username="bob")
    consumer = await created(client, "/consumers", username="eve", custom_id="4 2/é")
    found = await client.get("/consumers", params={"custom_id": "4 2/é"})
    assert found.json() == {"data": [consumer], "next": None}
    for unknown in ("43", "bob"):
        missed = await client.get("/consumers", params={"custom_id": unknown})
        assert missed.json() == {"data": [], "next": None}


@pytest.mark.parametrize("query", ["custom_id=", "custom_id", "custom_id=a&custom_id=b"])
async def test_it_must_be_one_text(client: Client, query: str):
    response = await client.get(f"/consumers?{query}")
    assert (response.status_code, response.json()) == (400, UNEMPTY)


async def test_no_consumer_can_be_called_by_what_cannot_be_kept(client: Client):
    response = await client.get("/consumers?custom_id=%00")
    assert response.status_code == 400
    assert response.json()["message"].startswith("custom_id: ")


async def test_consumers_are_listed_in_pages_and_by_tags(client: Client):
    known = [await created(client, "/consumers", username=f"u{n}", tags=["a"]) for n in range(3)]
    await created(client, "/consumers", username="other")
    page = (await client.get("/consumers?size=2&tags=a")).json()
    rest = (await client.get(page["next"])).json()
    listed = [row["id"] for row in page["data"] + rest["data"]]
    assert listed == sorted(consumer["id"] for consumer in known)


async def test_all_that_belongs_to_a_consumer_goes_with_it(client: Client):
    await created(client, "/consumers", username="bob")
    await created(client, "/consumers/bob/key-auth")
    await created(client, "/consumers/bob/basic-auth", username="bob", password="secret")
    await created(client, "/consumers/bob/jwt")
    await created(client, "/consumers/bob/hmac-auth", username="bob")
    await created(client, "/consumers/bob/acls", group="admins")
    await created(client, "/consumers/bob/plugins", name="quota", config={"unit": "request"})
    assert (await client.delete("/consumers/bob")).status_code == 204
    for path in (
        *("/key-auths", "/basic-auths", "/jwts", "/hmac-auths", "/acls", "/plugins"),
        "/consumers",
    ):
        assert await ids(client, path) == []
    assert (await client.get("/consumers/bob/key-auth")).json() == NOT_FOUND

"""The tags of all entities, in the order of the entities and of their tags."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from .conftest import created

Client = httpx.AsyncClient
ILLEGAL = "expected printable ascii (except `,` and `/`) or valid utf-8 sequences"


def entity(number: int) -> str:
    return str(UUID(int=number))


def shown(table: str, number: int, tag: str) -> dict[str, str]:
    return {"entity_name": table, "entity_id": entity(number), "tag": tag}


@pytest.fixture
async def tagged(client: Client) -> list[dict[str, str]]:
    """Entities of many kinds, two of them with the same id; all their tags."""
    await created(client, "/services", id=entity(3), name="s", host="a", tags=["prod", "eu"])
    await created(client, "/services", id=entity(9), host="a", tags=[])
    await created(client, "/services", id=entity(8), host="a")
    await created(client, "/routes", id=entity(1), paths=["/"], tags=["eu"])
    await created(client, "/upstreams", id=entity(2), name="u", tags=["prod"])
    await created(client, "/upstreams/u/targets", id=entity(4), target="a", tags=["b", "a"])
    await created(client, "/consumers", id=entity(3), username="bob", tags=["x y", "prod"])
    await created(client, "/consumers/bob/key-auth", id=entity(6), tags=["café"])
    await created(client, "/plugins", id=entity(5), name="gate-key", tags=["prod"])
    return [
        shown("routes", 1, "eu"),
        shown("upstreams", 2, "prod"),
        shown("consumers", 3, "x y"),
        shown("services", 3, "prod"),
        shown("consumers", 3, "prod"),
        shown("services", 3, "eu"),
        shown("targets", 4, "b"),
        shown("targets", 4, "a"),
        shown("plugins", 5, "prod"),
        shown("keyauth_credentials", 6, "café"),
    ]


async def walk(client: Client, path: str, size: int) -> list[dict[str, str]]:
    """Follow `offset` from page to page."""
    found: list[dict[str, str]] = []
    query: dict[str, Any] = {"size": size}
    while True:
        page = (await client.get(path, params=query)).json()
        assert len(page["data"]) <= size
        found += page["data"]
        if "offset" not in page:
            assert page["next"] is None
            return found
        assert page["next"].startswith(f"{path}?offset=")
        assert "&" not in page["next"]
        query["offset"] = page["offset"]


async def test_nothing_is_tagged_at_first(client: Client):
    for path in ("/tags", "/tags/prod"):
        assert (await client.get(path)).json() == {"data": [], "next": None}


@pytest.mark.parametrize("size", [1, 2, 3, 9, 10, 1000])
async def test_all_tags_are_listed_in_pages(
    client: Client, tagged: list[dict[str, str]], size: int
):
    assert await walk(client, "/tags", size) == tagged
    assert await walk(client, "/tags/", size) == tagged


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("tag", ["prod", "eu", "x y", "café", "unknown"])
async def test_one_tag_is_listed_in_pages(
    client: Client, tagged: list[dict[str, str]], tag: str, size: int
):
    having = [row for row in tagged if row["tag"] == tag]
    path = "/tags/" + tag.replace(" ", "%20").replace("é", "%C3%A9")
    assert sorted(map(str, await walk(client, path, size))) == sorted(map(str, having))


async def test_the_next_link_leads_to_the_next_page(client: Client, tagged: list[dict[str, str]]):
    page = (await client.get("/tags?size=4&tags=none")).json()
    assert (await client.get(page["next"])).json() == {"data": tagged[4:], "next": None}


async def test_a_key_that_has_ended_has_no_tags(client: Client, database_url: str):
    await created(client, "/consumers", username="bob")
    await created(client, "/consumers/bob/key-auth", ttl=1000, tags=["a"])
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("UPDATE keyauth_credentials SET expires_at = now()")
    for path in ("/tags", "/tags/a"):
        assert (await client.get(path)).json()["data"] == []


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("a,b", f"invalid tag 'a,b': {ILLEGAL}"),
        ("a%2Fb", f"invalid tag 'a/b': {ILLEGAL}"),
        ("a%09", f"invalid tag 'a\t': {ILLEGAL}"),
        ("%00", "must not contain the NUL character"),
    ],
)
async def test_what_cannot_be_a_tag_is_refused(client: Client, segment: str, text: str):
    response = await client.get(f"/tags/{segment}")
    assert (response.status_code, response.json()) == (
        400,
        {"code": 10, "name": "invalid unique tag", "message": text},
    )


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        ("!", "bad base64 encoding"),
        ("YWJj", "bad json encoding"),
        ("WzFd", "bad json encoding"),
        ("WyIiLDEsInNlcnZpY2VzIl0", "bad json encoding"),
    ],
)
async def test_an_offset_that_no_page_gave_out(client: Client, offset: str, reason: str):
    response = await client.get("/tags", params={"offset": offset})
    assert (response.status_code, response.json()) == (
        400,
        {
            "code": 7,
            "name": "invalid offset",
            "message": f"'{offset}' is not a valid offset: {reason}",
        },
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_tags_are_only_looked_at(client: Client, method: str):
    for path in ("/tags", "/tags/prod"):
        assert (await client.request(method, path)).status_code == 405
    assert (await client.options("/tags")).headers["Allow"] == "GET, HEAD, OPTIONS"

"""Targets: below their upstream only, newest first, and PUT never creates."""

from __future__ import annotations

import httpx

from .conftest import created

Client = httpx.AsyncClient
NOT_FOUND = {"message": "Not found"}


async def pool(client: Client, *targets: str) -> None:
    await created(client, "/upstreams", name="pool")
    for number, target in enumerate(targets, 1):
        await created(client, "/upstreams/pool/targets", target=target, created_at=number)


async def test_a_target_is_completed_and_found_by_its_full_address(client: Client):
    await created(client, "/upstreams", name="pool")
    target = await created(client, "/upstreams/pool/targets", target="a", weight=0)
    assert target["target"] == "a:8000"
    assert target["weight"] == 0
    for segment in (target["id"], "a:8000", "a%3A8000"):
        assert (await client.get(f"/upstreams/pool/targets/{segment}")).json() == target
    missed = await client.get("/upstreams/pool/targets/a")
    assert (missed.status_code, missed.json()) == (404, NOT_FOUND)


async def test_a_targets_times_have_milliseconds(client: Client):
    await created(client, "/upstreams", name="pool")
    target = await created(client, "/upstreams/pool/targets", target="a", created_at=1718000000.123)
    assert target["created_at"] == 1718000000.123


async def test_targets_are_listed_newest_first_in_pages_by_row_number(client: Client):
    await pool(client, "a:1", "b:1", "c:1")
    first = (await client.get("/upstreams/pool/targets?size=2")).json()
    assert [row["target"] for row in first["data"]] == ["c:1", "b:1"]
    assert (first["offset"], first["next"]) == ("2", "/upstreams/pool/targets?offset=2")
    second = (await client.get("/upstreams/pool/targets?size=2&offset=2")).json()
    assert [row["target"] for row in second["data"]] == ["a:1"]
    assert second["next"] is None
    assert "offset" not in second


async def test_a_large_size_is_capped_and_a_bad_one_refused(client: Client):
    await pool(client, "a:1")
    assert len((await client.get("/upstreams/pool/targets?size=5000")).json()["data"]) == 1
    for query in ("size=x", "size=0", "offset=x", "offset=-1"):
        assert (await client.get(f"/upstreams/pool/targets?{query}")).status_code == 400


async def test_all_targets_are_also_listed_as_other_entities_are(client: Client):
    await pool(client, "a:1", "b:1", "c:1")
    page = (await client.get("/upstreams/pool/targets/all?size=2")).json()
    rest = (await client.get(page["next"])).json()
    listed = [row["id"] for row in page["data"] + rest["data"]]
    assert listed == sorted(listed)
    assert len(listed) == 3


async def test_put_changes_a_target_but_never_makes_one(client: Client):
    await pool(client, "a:1")
    changed = await client.put("/upstreams/pool/targets/a:1", json={"weight": 7})
    assert (changed.status_code, changed.json()["weight"]) == (200, 7)
    assert changed.json()["created_at"] == 1
    missed = await client.put("/upstreams/pool/targets/b:1", json={"weight": 7})
    assert (missed.status_code, missed.json()) == (404, NOT_FOUND)


async def test_another_upstreams_target_is_not_found(client: Client):
    await pool(client, "a:1")
    await created(client, "/upstreams", name="other")
    for response in (
        await client.get("/upstreams/other/targets/a:1"),
        await client.patch("/upstreams/other/targets/a:1", json={"weight": 1}),
        await client.delete("/upstreams/other/targets/a:1"),
        await client.delete("/upstreams/pool/targets/b:1"),
        await client.get("/upstreams/nope/targets"),
    ):
        assert (response.status_code, response.json()) == (404, NOT_FOUND)


async def test_targets_go_with_their_upstream(client: Client):
    await pool(client, "a:1", "b:1")
    assert (await client.delete("/upstreams/pool/targets/a:1")).status_code == 204
    assert (await client.delete("/upstreams/pool")).status_code == 204
    await created(client, "/upstreams", name="pool")
    assert (await client.get("/upstreams/pool/targets")).json() == {"data": [], "next": None}

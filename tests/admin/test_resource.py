"""What each verb does to an entity, by itself, below a parent, and through its child."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from .conftest import created, ids

Client = httpx.AsyncClient


async def version(client: Client) -> int:
    return (await client.get("/cluster")).json()["config_version"]


# -- create and read


async def test_a_created_service_is_complete_and_can_be_read_back(client: Client):
    response = await client.post(
        "/services", json={"name": "orders", "url": "http://orders.internal:9000/v2"}
    )
    assert response.status_code == 201
    service = response.json()
    assert {k: v for k, v in service.items() if k not in ("id", "created_at", "updated_at")} == {
        "name": "orders",
        "protocol": "http",
        "host": "orders.internal",
        "port": 9000,
        "path": "/v2",
        "retries": 5,
        "connect_timeout": 60000,
        "write_timeout": 60000,
        "read_timeout": 60000,
        "client_certificate": None,
        "tls_verify": None,
        "tls_verify_depth": None,
        "ca_certificates": None,
        "enabled": True,
        "tags": None,
    }
    assert isinstance(service["created_at"], int)
    assert (await client.get("/services/orders")).json() == service
    assert (await client.get(f"/services/{service['id'].upper()}")).json() == service


async def test_an_upstream_keeps_its_whole_health_check_record(client: Client):
    upstream = await created(
        client, "/upstreams", name="pool", healthchecks={"active": {"healthy": {"interval": 5}}}
    )
    read = (await client.get("/upstreams/pool")).json()
    assert read == upstream
    assert read["healthchecks"]["active"]["healthy"] == {
        "interval": 5,
        "http_statuses": [200, 302],
        "successes": 0,
    }


async def test_a_client_may_choose_id_and_creation_time(client: Client):
    chosen = {"id": str(uuid4()), "created_at": 1718000000}
    service = await created(client, "/services", host="a", **chosen)
    assert chosen.items() <= service.items()


async def test_a_route_names_its_service_by_name(client: Client):
    service = await created(client, "/services", name="orders", host="a")
    route = await created(client, "/routes", paths=["/"], service={"name": "orders"})
    assert route["service"] == {"id": service["id"]}


@pytest.mark.parametrize("name", ["café", "a.b~c_d-e"])
async def test_a_name_is_found_however_it_is_encoded(client: Client, name: str):
    service = await created(client, "/services", name=name, host="a")
    encoded = "".join(f"%{byte:02x}" for byte in name.encode())
    assert (await client.get(f"/services/{encoded}")).json() == service
    assert (await client.get(f"/services/{name}/")).json() == service


# -- PUT


async def test_put_by_id_creates_and_then_replaces_the_whole(client: Client):
    id_ = str(uuid4())
    first = await client.put(
        f"/services/{id_}", json={"host": "a", "retries": 1, "id": str(uuid4())}
    )
    second = await client.put(f"/services/{id_}", json={"host": "b", "created_at": 1718000000})
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["id"] == second.json()["id"] == id_
    assert (second.json()["host"], second.json()["retries"]) == ("b", 5)
    assert second.json()["created_at"] == 1718000000
    assert await ids(client, "/services") == await ids(client, "/services?size=1")


async def test_put_by_name_keeps_the_id_of_what_is_there(client: Client):
    service = await created(client, "/services", name="orders", host="a")
    replaced = await client.put(
        "/services/orders", json={"host": "b", "name": "other", "id": str(uuid4())}
    )
    assert replaced.status_code == 200
    assert replaced.json()["id"] == service["id"]
    assert replaced.json()["name"] == "orders"


async def test_put_by_name_takes_the_id_of_the_body_for_a_new_one(client: Client):
    id_ = str(uuid4())
    response = await client.put("/upstreams/pool", json={"id": id_})
    assert response.status_code == 200
    assert (response.json()["id"], response.json()["name"]) == (id_, "pool")


# -- PATCH


async def test_patch_changes_what_it_names_and_nothing_else(client: Client):
    service = await created(client, "/services", name="orders", url="http://a/x", tags=["t"])
    response = await client.patch("/services/orders", json={"retries": 9, "tags": None})
    assert response.status_code == 200
    patched = response.json()
    assert patched.pop("updated_at") >= service.pop("updated_at")
    assert patched == service | {"retries": 9, "tags": None}


async def test_patch_with_a_url_clears_the_old_path(client: Client):
    await created(client, "/services", name="orders", url="http://a/x")
    patched = (await client.patch("/services/orders", json={"url": "https://b"})).json()
    assert (patched["protocol"], patched["host"], patched["port"]) == ("https", "b", 443)
    assert patched["path"] is None


async def test_patch_goes_into_records(client: Client):
    await created(client, "/upstreams", name="pool")
    response = await client.patch(
        "/upstreams/pool", json={"healthchecks": {"active": {"healthy": {"interval": 3}}}}
    )
    active = response.json()["healthchecks"]["active"]
    assert (active["healthy"]["interval"], active["healthy"]["successes"]) == (3, 0)
    assert active["timeout"] == 1


async def test_patch_judges_the_entity_as_it_would_become(client: Client):
    await created(client, "/services", name="orders", url="http://a/x")
    response = await client.patch("/services/orders", json={"protocol": "tcp"})
    assert response.json()["fields"] == {
        "@entity": ["failed conditional validation given value of field 'protocol'"],
        "path": "value must be null",
    }
    assert (await client.get("/services/orders")).json()["protocol"] == "http"


async def test_patch_of_nothing_in_particular_is_fine(client: Client):
    service = await created(client, "/services", name="orders", host="a")
    response = await client.patch(f"/services/{service['id']}")
    assert response.status_code == 200
    assert response.json() | {"updated_at": 0} == service | {"updated_at": 0}


async def test_patch_may_rename_and_detach_but_not_change_the_id(client: Client):
    await created(client, "/services", name="orders", host="a")
    route = await created(client, "/services/orders/routes", name="r", paths=["/"])
    response = await client.patch(
        "/routes/r", json={"name": "r2", "service": None, "id": str(uuid4())}
    )
    assert response.json()["service"] is None
    assert (await client.get("/routes/r2")).json()["id"] == route["id"]


async def test_patches_of_different_fields_at_once_are_all_kept(client: Client):
    await created(client, "/services", name="orders", host="a")
    changes: list[dict[str, Any]] = [
        {"retries": 1},
        {"connect_timeout": 2},
        {"read_timeout": 3},
        {"write_timeout": 4},
        {"tags": ["x"]},
    ]
    await asyncio.gather(*(client.patch("/services/orders", json=change) for change in changes))
    service = (await client.get("/services/orders")).json()
    for change in changes:
        assert change.items() <= service.items()


# -- DELETE


async def test_a_deleted_entity_is_gone(client: Client):
    service = await created(client, "/services", name="orders", host="a")
    response = await client.delete("/services/orders")
    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get(f"/services/{service['id']}")).status_code == 404


async def test_deleting_what_is_not_there_changes_nothing(client: Client):
    before = await version(client)
    response = await client.delete(f"/services/{uuid4()}")
    assert response.status_code == 204
    assert response.headers["X-Gateway-Config-Version"] == str(before)
    assert await version(client) == before


# -- the version


async def test_each_write_tells_the_version_it_made(client: Client):
    before = await version(client)
    writes = [
        await client.post("/services", json={"name": "s", "host": "a"}),
        await client.put("/services/s", json={"host": "b"}),
        await client.patch("/services/s", json={"host": "c"}),
        await client.post("/services/s/routes", json={"name": "r", "paths": ["/"]}),
        await client.put("/routes/r/service", json={"host": "d"}),
        await client.delete("/routes/r"),
    ]
    made = [int(response.headers["X-Gateway-Config-Version"]) for response in writes]
    assert made == list(range(before + 1, before + 7))
    assert await version(client) == made[-1]


async def test_reads_and_refused_writes_make_no_version(client: Client):
    before = await version(client)
    assert "X-Gateway-Config-Version" not in (await client.get("/services")).headers
    refused = await client.post("/services", json={})
    assert refused.status_code == 400
    assert "X-Gateway-Config-Version" not in refused.headers
    assert await version(client) == before


# -- below a parent


async def test_children_belong_to_the_parent_in_the_url(client: Client):
    service = await created(client, "/services", name="orders", host="a")
    await created(client, "/services", name="other", host="b")
    route = await created(
        client, "/services/orders/routes", paths=["/"], service={"name": "other"}, name="r"
    )
    assert route["service"] == {"id": service["id"]}
    assert (await client.get(f"/services/{service['id']}/routes/r")).json() == route
    assert (await client.get("/services/other/routes/r")).status_code == 404
    assert await ids(client, "/services/other/routes") == []
    assert [str(id_) for id_ in await ids(client, "/services/orders/routes")] == [route["id"]]


async def test_a_child_is_put_under_the_parent_in_the_url(client: Client):
    await created(client, "/services", name="a", host="a")
    b = await created(client, "/services", name="b", host="b")
    first = await client.put("/services/a/routes/r", json={"paths": ["/"]})
    moved = await client.put("/services/b/routes/r", json={"paths": ["/x"]})
    assert (first.status_code, moved.status_code) == (200, 200)
    assert moved.json()["id"] == first.json()["id"]
    assert moved.json()["service"] == {"id": b["id"]}


async def test_a_child_is_patched_and_deleted_only_through_its_own_parent(client: Client):
    await created(client, "/services", name="a", host="a")
    await created(client, "/services", name="b", host="b")
    await created(client, "/services/a/routes", name="r", paths=["/"])
    for refused in (
        await client.patch("/services/b/routes/r", json={"paths": ["/x"]}),
        await client.delete("/services/b/routes/r"),
        await client.delete("/services/a/routes/nope"),
        await client.post("/services/nope/routes", json={"nonsense": 1}),
        await client.put("/services/nope/routes/r", json={"nonsense": 1}),
        await client.get("/services/nope/routes"),
    ):
        assert (refused.status_code, refused.json()) == (404, {"message": "Not found"})
    patched = await client.patch("/services/a/routes/r", json={"paths": ["/x"]})
    assert patched.json()["paths"] == ["/x"]
    assert (await client.delete("/services/a/routes/r")).status_code == 204


# -- the parent of a child


async def test_the_parent_is_read_and_changed_through_the_child(client: Client):
    service = await created(client, "/services", name="orders", host="a", retries=1)
    await created(client, "/services/orders/routes", name="r", paths=["/"])
    assert (await client.get("/routes/r/service")).json() == service
    patched = await client.patch("/routes/r/service", json={"host": "b"})
    assert (patched.json()["host"], patched.json()["retries"]) == ("b", 1)
    replaced = await client.put("/routes/r/service", json={"host": "c"})
    assert (replaced.status_code, replaced.json()["id"]) == (200, service["id"])
    assert (replaced.json()["retries"], replaced.json()["name"]) == (5, None)
    refused = await client.delete("/routes/r/service")
    assert (refused.status_code, refused.json()) == (405, {"message": "Method not allowed"})


async def test_a_missing_parent_is_created_and_linked(client: Client):
    await created(client, "/routes", name="r", paths=["/"])
    for response in (
        await client.get("/routes/r/service"),
        await client.patch("/routes/r/service", json={"host": "b"}),
        await client.delete("/routes/r/service"),
        await client.put("/routes/nope/service", json={"host": "b"}),
    ):
        assert (response.status_code, response.json()) == (404, {"message": "Not found"})
    made = await client.put("/routes/r/service", json={"host": "b"})
    assert made.status_code == 200
    assert (await client.get("/routes/r/service")).json() == made.json()


# -- pages


async def walk(client: Client, path: str, **parameters: Any) -> list[list[str]]:
    """Follow `offset` from page to page, as go-kong does, and return their ids."""
    pages: list[list[str]] = []
    while True:
        body = (await client.get(path, params=parameters)).json()
        pages.append([row["id"] for row in body["data"]])
        if "offset" not in body:
            assert body["next"] is None
            return pages
        parameters["offset"] = body["offset"]


async def test_pages_are_in_the_order_of_ids_and_lose_nothing(client: Client):
    known = {(await created(client, "/services", host="a"))["id"] for _ in range(7)}
    pages = await walk(client, "/services", size=3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [id_ for page in pages for id_ in page] == sorted(known)


async def test_a_full_last_page_has_no_next(client: Client):
    for _ in range(2):
        await created(client, "/services", host="a")
    body = (await client.get("/services?size=2")).json()
    assert body["next"] is None
    assert "offset" not in body


async def test_the_next_link_leads_to_the_next_page(client: Client):
    for _ in range(3):
        await created(client, "/services", host="a", tags=["x y"])
    body = (await client.get("/services?size=2&tags=x%20y&unknown=1")).json()
    assert body["next"].startswith("/services?offset=")
    assert body["next"].endswith("&tags=x%20y&size=2")
    assert len((await client.get(body["next"])).json()["data"]) == 1


async def test_the_next_link_of_children_keeps_the_parents_spelling_only(client: Client):
    await created(client, "/services", name="café", host="a")
    for _ in range(2):
        await created(client, "/services/café/routes", paths=["/"])
    body = (await client.get("/services/caf%C3%A9/routes?size=1&tags=none")).json()
    assert body["next"].split("=")[0] == "/services/caf%C3%A9/routes?offset"
    assert "&" not in body["next"]
    assert len((await client.get(body["next"])).json()["data"]) == 1


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        ("a", ["ab", "ac"]),
        ("a,b", ["ab"]),
        ("a,b,", ["ab"]),
        ("b/c", ["ab", "ac"]),
        ("c/zzz", ["ac"]),
        ("zzz", []),
    ],
)
async def test_tags_filter(client: Client, tags: str, names: list[str]):
    await created(client, "/services", name="ab", host="h", tags=["a", "b"])
    await created(client, "/services", name="ac", host="h", tags=["a", "c"])
    await created(client, "/services", name="none", host="h")
    body = (await client.get("/services", params={"tags": tags})).json()
    assert sorted(row["name"] for row in body["data"]) == names

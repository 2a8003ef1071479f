"""A file goes to the server as decK sends it, and a second look finds nothing to do.

Sheet: decl-config.md, part C.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import yaml

from tests.proxy.certificates import Authority

from .deck import FURTHER, KINDS, Deck, DeckError

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOP = yaml.safe_load((Path(__file__).parent / "shop.yaml").read_text())

EMPTY: dict[str, Any] = {}


@pytest.fixture
def shop() -> dict[str, Any]:
    """A state with something of every kind."""
    authority = Authority()
    shown = authority.issue("shop.example.com")
    names = [{"name": "shop.example.com"}, {"name": "*.shop.example.com", "tags": ["wild"]}]
    return copy.deepcopy(SHOP) | {
        "certificates": [
            {"id": str(uuid4()), "cert": shown.cert_pem, "key": shown.key_pem, "snis": names}
        ],
        "ca_certificates": [{"cert": authority.pem}],
    }


@pytest_asyncio.fixture(loop_scope="session")
async def http(admin_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=admin_url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def deck(http: httpx.AsyncClient) -> Deck:
    return Deck(http)


def said(deck: Deck, *methods: str) -> list[tuple[str, str]]:
    """Return which requests of these methods the client has sent."""
    return [(method, path) for method, path, _ in deck.trace if method in methods]


# -- what decK is for


async def test_a_file_gets_there_and_a_second_diff_is_empty(deck: Deck, shop: Any) -> None:
    changes = await deck.sync(shop)
    assert {change.operation for change in changes} == {"create"}
    assert {change.kind for change in changes} == set(KINDS)
    assert await deck.diff(shop) == []
    assert await deck.sync(shop) == []


async def test_what_has_changed_is_written_and_what_is_gone_deleted(deck: Deck, shop: Any) -> None:
    await deck.sync(shop)
    orders, stock, _ = shop["services"]
    orders["retries"] = 7
    orders["routes"][0]["paths"].reverse()
    orders["plugins"][0]["config"]["languages"] = ["fr"]
    shop["upstreams"][0]["targets"][0]["weight"] = 10
    del shop["upstreams"][0]["targets"][1]
    shop["certificates"][0]["snis"].pop()
    del shop["certificates"][0]["snis"][0]
    shop["consumers"][1]["jwt_secrets"][0]["algorithm"] = "HS256"
    shop["services"] = [orders, stock]
    changes = sorted(map(str, await deck.sync(shop)))
    assert changes == [
        "delete routes rpc",
        "delete services rpc",
        "delete snis *.shop.example.com",
        "delete snis shop.example.com",
        *(change for change in changes if change.startswith("delete targets")),
        "update jwts ann-issuer",
        *(change for change in changes if change.startswith("update plugins")),
        "update routes orders-list",
        "update services orders",
        *(change for change in changes if change.startswith("update targets")),
    ]
    assert await deck.diff(shop) == []


async def test_reset_leaves_nothing(deck: Deck, shop: Any) -> None:
    await deck.sync(shop)
    await deck.sync(EMPTY)
    state = await deck.read()
    assert [name for name, entities in state.items() if entities] == []


async def test_the_first_sync_sends_what_the_sheet_says(deck: Deck) -> None:
    await deck.sync(
        {
            "services": [
                {
                    "name": "orders",
                    "url": "http://orders-pool",
                    "routes": [{"name": "orders-list", "paths": ["/orders"]}],
                    "plugins": [{"name": "greeting", "config": {"text": "hello"}}],
                }
            ],
            "consumers": [{"username": "bob", "keyauth_credentials": [{"key": "bobs-key"}]}],
        }
    )
    lists = {kind.collection for kind in KINDS} - {"targets"} | {*FURTHER}
    schemas = ("services", "routes", "upstreams", "targets", "plugins/greeting")
    reads = said(deck, "GET")
    assert reads[0] == ("GET", "/")
    assert {*reads[1:]} == {("GET", f"/{name}?size=1000") for name in lists} | {
        ("GET", f"/schemas/{name}") for name in schemas
    }
    writes = [path.split("/") for _, path in said(deck, "PUT", "POST", "DELETE")]
    assert [path[1] for path in writes] == [
        "consumers",
        "services",
        "consumers",
        "routes",
        "plugins",
    ]
    assert writes[2][3] == "key-auth"


async def test_select_tags_leave_others_alone(http: httpx.AsyncClient, shop: Any) -> None:
    await Deck(http).sync({"services": [{"name": "theirs", "host": "h", "tags": ["mine"]}]})
    tagged = Deck(http, tags=("mine", "too"))
    mine = {name: shop[name] for name in ("services", "consumers", "upstreams")}
    await tagged.sync(mine)
    assert await tagged.diff(mine) == []
    await tagged.sync(EMPTY)
    left = (await http.get("/services")).json()["data"]
    assert [service["name"] for service in left] == ["theirs"]
    assert (await http.get("/consumers")).json()["data"] == []


async def test_an_entity_makes_room_for_one_of_its_name(deck: Deck, shop: Any) -> None:
    """The service is deleted first, and with it its plugin, which is then deleted once more."""
    await deck.sync(shop)
    shop["services"][0]["id"] = str(uuid4())
    changes = await deck.sync(shop)
    made_room = [str(change) for change in changes if change.operation == "make room"]
    assert made_room[-1] == "make room services orders"
    await deck.sync(shop)  # decK does not know what has gone with the routes
    assert await deck.diff(shop) == []


async def test_many_entities_on_many_pages(http: httpx.AsyncClient) -> None:
    deck = Deck(http, page_size=7)
    routes = [{"name": f"route-{n}", "paths": [f"/{n}"]} for n in range(30)]
    targets = [{"target": f"10.0.0.{n}:80"} for n in range(30)]
    file = {
        "services": [{"name": "orders", "host": "orders-pool", "routes": routes}],
        "upstreams": [{"name": "orders-pool", "targets": targets}],
    }
    await deck.sync(file)
    deck.trace.clear()
    assert await deck.diff(file) == []
    assert sum(path.startswith("/routes?") for _, path in said(deck, "GET")) == 5


# -- the checklist (C8)


async def test_1_the_version_can_be_parsed(http: httpx.AsyncClient) -> None:
    root = (await http.get("/")).json()
    assert [int(part) for part in root["version"].split(".")] >= [3, 9, 0]


async def test_2_every_list_has_pages_and_tags(
    deck: Deck, http: httpx.AsyncClient, shop: Any
) -> None:
    await deck.sync(shop)
    for kind in KINDS:
        if kind.collection == "targets":
            continue
        full = (await http.get(f"/{kind.collection}", params={"size": 1000})).json()
        assert full["data"], kind
        assert full["next"] is None
        assert "offset" not in full
        first = (await http.get(f"/{kind.collection}", params={"size": 1})).json()
        assert ("offset" in first) == (len(full["data"]) > 1)
        none = (await http.get(f"/{kind.collection}", params={"tags": "nobody"})).json()
        assert none["data"] == []


async def test_2_an_offset_of_other_targets_is_no_error(
    deck: Deck, http: httpx.AsyncClient
) -> None:
    targets = [{"target": f"10.0.0.{n}:80"} for n in range(3)]
    pools = [{"name": "big", "targets": targets}, {"name": "small", "targets": targets[:1]}]
    await deck.sync({"upstreams": pools})
    page = (await http.get("/upstreams/big/targets", params={"size": 2})).json()
    other = await http.get("/upstreams/small/targets", params={"offset": page["offset"]})
    assert (other.status_code, other.json()) == (200, {"data": [], "next": None})


@pytest.mark.parametrize("collection", [*FURTHER, "workspaces", "licenses"])
async def test_3_what_is_not_supported_is_not_found(
    http: httpx.AsyncClient, collection: str
) -> None:
    response = await http.get(f"/{collection}", params={"size": 1000})
    assert response.status_code in FURTHER.get(collection, (404,))


async def test_4_put_with_a_new_id_creates_also_below_consumers(http: httpx.AsyncClient) -> None:
    bob, key = str(uuid4()), str(uuid4())
    put = await http.put(f"/consumers/{bob}", json={"id": bob, "username": "bob"})
    assert (put.status_code, put.json()["id"]) == (200, bob)
    nested = await http.put(f"/consumers/{bob}/key-auth/{key}", json={"id": key, "key": "k"})
    assert (nested.status_code, nested.json()["id"]) == (200, key)
    assert nested.json()["consumer"] == {"id": bob}


async def test_5_put_answers_the_complete_entity(http: httpx.AsyncClient) -> None:
    id_ = str(uuid4())
    put = (await http.put(f"/services/{id_}", json={"host": "h"})).json()
    assert put == (await http.get(f"/services/{id_}")).json()
    assert put["client_certificate"] is None
    route = (await http.put("/routes/r", json={"paths": ["/"], "service": {"id": id_}})).json()
    assert route["service"] == {"id": id_}


async def test_6_put_replaces_the_whole(http: httpx.AsyncClient) -> None:
    first = {"host": "h", "path": "/v1", "retries": 1, "tags": ["a"]}
    id_ = (await http.post("/services", json=first)).json()["id"]
    put = (await http.put(f"/services/{id_}", json={"host": "h"})).json()
    assert (put["path"], put["retries"], put["tags"]) == (None, 5, None)


async def test_7_a_given_created_at_is_kept(http: httpx.AsyncClient) -> None:
    body = {"host": "h", "created_at": 1_718_000_000}
    put = (await http.put(f"/services/{uuid4()}", json=body)).json()
    assert put["created_at"] == 1_718_000_000


async def test_8_ids_come_back_as_they_were_sent(http: httpx.AsyncClient) -> None:
    id_ = str(uuid4())
    posted = (await http.post("/consumers", json={"id": id_, "username": "bob"})).json()
    assert posted["id"] == id_


async def test_9_values_come_back_as_they_were_sent(http: httpx.AsyncClient) -> None:
    sent = {
        "paths": ["/z", "/a b", "~/x/(?<id>[0-9]+)$"],
        "methods": ["PUT", "GET"],
        "hosts": ["z.example", "a.example:80"],
        "headers": {"X-b": ["2", "1"], "x-A": ["~*^v"]},
        "tags": ["z", "a", "tëam"],
        "protocols": ["https", "http"],
    }
    stored = (await http.put(f"/routes/{uuid4()}", json=sent)).json()
    assert {name: stored[name] for name in sent} == sent


async def test_10_a_plugin_s_config_agrees_with_its_schema(http: httpx.AsyncClient) -> None:
    body = {"name": "greeting", "config": {"text": "hello"}}
    config = (await http.post("/plugins", json=body)).json()["config"]
    schema = (await http.get("/schemas/plugins/greeting")).json()
    (of_config,) = [entry["config"] for entry in schema["fields"] if "config" in entry]
    declared = {name: field for entry in of_config["fields"] for name, field in entry.items()}
    assert config.keys() == declared.keys()
    for name in declared.keys() - {"text", "style"}:
        assert config[name] == declared[name].get("default"), name


async def test_11_a_write_is_read_at_once(http: httpx.AsyncClient) -> None:
    for n in range(20):
        put = (await http.put(f"/services/{uuid4()}", json={"host": f"h{n}"})).json()
        assert (await http.get(f"/services/{put['id']}")).json() == put


async def test_12_parallel_writes_are_no_errors(deck: Deck, shop: Any) -> None:
    await deck.sync(shop)
    await deck.sync(EMPTY)
    await deck.sync(shop)  # raises at any status of an error
    assert await deck.diff(shop) == []


async def test_13_deletes_are_refused_cascaded_or_done_already(
    deck: Deck, http: httpx.AsyncClient, shop: Any
) -> None:
    await deck.sync(shop)
    refused = await http.delete("/services/orders")
    assert (refused.status_code, refused.json()["fields"]) == (400, {"@referenced_by": "routes"})
    for path in ("/consumers/bob", "/consumers/ann", "/upstreams/orders-pool"):
        assert (await http.delete(path)).status_code == 204
    for collection in ("key-auths", "basic-auths", "hmac-auths", "jwts", "acls"):
        assert (await http.get(f"/{collection}")).json()["data"] == []
    for kind in KINDS:
        if kind.below is None:
            assert (await http.delete(f"/{kind.collection}/{uuid4()}")).status_code == 204


async def test_a_refusal_names_the_request(deck: Deck) -> None:
    with pytest.raises(DeckError, match=r"PUT /services/.*: 400 .*schema violation \(port: "):
        await deck.sync({"services": [{"name": "s", "host": "h", "port": 70_000}]})

"""Python's clients of the Admin API: aio-kong, which applies its own kind of file, and
python-kongclient, one method per endpoint of Kong 2."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.proxy.certificates import Authority

if TYPE_CHECKING:
    from kong.client import Kong
    from kongclient import KongClient

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(
        not (find_spec("kong") and find_spec("kongclient")) and "CI" not in os.environ,
        reason="aio-kong or python-kongclient is not installed",
    ),
]

CONFIGURATION = {
    "services": [
        {
            "name": "orders",
            "host": "orders.internal",
            "port": 9000,
            "routes": [
                {"name": "list", "paths": "/orders", "methods": ["GET"]},
                {
                    "name": "write",
                    "paths": ["/orders"],
                    "methods": ["POST"],
                    "plugins": [{"name": "greeting", "config": {"text": "hello"}}],
                },
            ],
            "plugins": [{"name": "greeting", "config": {"text": "welcome"}}],
        },
        {"name": "stock", "host": "stock.internal"},
    ],
    "consumers": [
        {
            "username": "bob",
            "groups": ["readers", "writers"],
            "auths": [
                {"type": "key-auth", "config": {"key": "bobs-key"}},
                {"type": "basic-auth", "config": {"username": "bob", "password": "open sesame"}},
            ],
        }
    ],
    "plugins": [{"name": "greeting", "config": {"text": "good day"}}],
}


# -- aio-kong


@pytest_asyncio.fixture(loop_scope="session")
async def kong(admin_url: str) -> AsyncIterator[Kong]:
    from kong.client import Kong  # noqa: PLC0415 - only where it is installed

    async with Kong(url=admin_url) as client:
        yield client


async def test_aio_kong_applies_a_file_twice(kong: Kong) -> None:
    first = await kong.apply_json(CONFIGURATION)
    second = await kong.apply_json(CONFIGURATION)
    for name in ("services", "consumers", "plugins"):
        assert [entity["id"] for entity in second[name]] == [e["id"] for e in first[name]]
    assert [route["paths"] for route in second["services"][0]["routes"]] == [["/orders"]] * 2
    bob = await kong.consumers.get("bob")
    assert {acl["group"] for acl in await bob.acls.get_list()} == {"readers", "writers"}
    assert [key["key"] for key in await bob.keyauths.get_list()] == ["bobs-key"]
    assert [login["username"] for login in await bob.basicauths.get_list()] == ["bob"]
    await kong.delete_all()
    assert await kong.services.get_full_list() == []


async def test_aio_kong_takes_away_what_the_file_no_longer_has(kong: Kong) -> None:
    await kong.apply_json(CONFIGURATION)
    await kong.apply_json(
        {
            "services": [{"name": "orders", "host": "orders.internal", "routes": []}],
            "consumers": [{"username": "bob", "groups": ["readers"]}],
        }
    )
    orders = await kong.services.get("orders")
    assert await orders.routes.get_list() == []
    assert await orders.plugins.get_list() == []
    acls = await (await kong.consumers.get("bob")).acls.get_list()
    assert [acl["group"] for acl in acls] == ["readers"]


async def test_aio_kong_follows_the_links_between_pages(kong: Kong) -> None:
    service = await kong.services.create(name="orders", host="orders.internal")
    for number in range(7):
        await service.routes.create(name=f"route-{number}", paths=[f"/{number}"])
    names = {f"route-{number}" for number in range(7)}
    assert {route.name for route in await kong.routes.get_full_list(size=2)} == names
    assert {route.name for route in await service.routes.get_full_list(size=3)} == names


async def test_aio_kong_reads_errors(kong: Kong) -> None:
    from kong.client import KongResponseError  # noqa: PLC0415

    assert not await kong.services.has("nobody")
    with pytest.raises(KongResponseError) as refused:
        await kong.services.create(name="orders")
    assert refused.value.status == 400
    assert refused.value.message["fields"] == {"host": "required field missing"}


# -- python-kongclient


@pytest.fixture
def kongclient(admin_url: str) -> KongClient:
    from kongclient import KongClient  # noqa: PLC0415

    client = KongClient(admin_url)
    client.client.trust_env = False
    return client


async def test_kongclient_walks_kong_2(kongclient: KongClient) -> None:
    await asyncio.to_thread(walk_services, kongclient)
    await asyncio.to_thread(walk_upstreams, kongclient)
    await asyncio.to_thread(walk_consumers_and_plugins, kongclient)
    await asyncio.to_thread(walk_certificates, kongclient)
    kongclient.client.close()


def walk_services(client: Any) -> None:
    assert client.info.get_node_info()["version"].startswith("3.9.")
    assert client.info.get_node_status()["database"] == {"reachable": True}
    orders = client.services.create("orders", url="http://orders.internal:9000/v2", tags=["shop"])
    assert (orders["host"], orders["port"], orders["path"]) == ("orders.internal", 9000, "/v2")
    route = client.services.add_route("orders", "list", hosts=["example.com"], paths=["/orders"])
    assert client.routes.get_service("list") == orders
    assert client.services.list_routes("orders") == [route]
    assert client.services.get_route("orders", "list") == route
    moved = client.services.update_by_route("list", host="other.internal")
    assert (moved["id"], moved["host"]) == (orders["id"], "other.internal")
    assert client.routes.update_by_service("orders", "list", methods=["GET"])["methods"] == ["GET"]
    assert [tag["entity_name"] for tag in client.tags.get("shop")] == ["services"]
    assert client.services.list(tags="shop") == [client.services.get("orders")]
    client.routes.delete_by_service("orders", "list")
    client.services.delete("orders")
    assert client.routes.list() == client.services.list() == []


def walk_upstreams(client: Any) -> None:
    pool = client.upstreams.create("orders-pool")
    target = client.upstreams.add_target("orders-pool", "10.0.0.1:80", weight=5)
    assert target["upstream"] == {"id": pool["id"]}
    assert client.upstreams.list_targets("orders-pool") == [target]
    assert client.upstreams.list_all_targets("orders-pool") == [target]
    client.targets.delete_target_by_upstream("orders-pool", target["id"])
    assert client.upstreams.update("orders-pool", slots=100)["slots"] == 100
    client.upstreams.delete("orders-pool")


def walk_consumers_and_plugins(client: Any) -> None:
    bob = client.consumers.create("bob", custom_id="crm-1")
    # Its own method sends `run_on`, a field that Kong has dropped with 2.0.
    body = {"name": "greeting", "config": {"text": "hello"}}
    plugin = client.client.post("/consumers/bob/plugins", json=body).json()
    assert client.plugins.get_consumer(plugin["id"]) == bob
    assert client.consumers.list_plugins("bob") == [plugin]
    assert client.consumers.update_by_plugin(plugin["id"], tags=["vip"])["tags"] == ["vip"]
    assert "greeting" in client.plugins.get_enabled_plugins()["enabled_plugins"]
    assert client.plugins.get_schema("greeting")["fields"]
    client.plugins.delete_by_consumer("bob", plugin["id"])
    client.consumers.delete("bob")


def walk_certificates(client: Any) -> None:
    shown = Authority().issue("a.example")
    certificate = client.certificates.create(shown.cert_pem, shown.key_pem, snis=["a.example"])
    sni = client.certificates.add_sni(certificate["id"], "b.example")
    assert client.certificates.get_sni(certificate["id"], "b.example") == sni
    assert client.certificates.get("a.example")["snis"] == ["a.example", "b.example"]
    client.snis.delete("b.example")
    client.certificates.delete(certificate["id"])
    assert client.snis.list() == []

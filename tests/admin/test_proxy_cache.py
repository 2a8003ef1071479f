"""What proxy-cache keeps, as the Admin API tells it, and how it has it purged."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from gateway.admin.proxy_cache import LARGEST_TOLD_BYTES
from gateway.plugins.proxy_cache.store import PURGE, Entry, ResponseStore
from gateway.proxy.http1 import read_response_head
from gateway.settings import NodeSettings, Role
from gateway.store.store import Store

from .conftest import StandingNode, client_of, created

Client = httpx.AsyncClient
NOT_FOUND = {"message": "Not found"}
KEY = "0123456789abcdef" * 4
UNKNOWN = "f" * 64
HEAD = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nX-A: 1\r\nX-A: 2\r\n\r\n"


def entry(cache: ResponseStore, plugin_id: UUID, body: bytes = b"hello") -> Entry:
    now = cache.clock()
    return Entry(
        head=read_response_head(HEAD, b"GET"),
        body=body,
        plugin_id=plugin_id,
        made_at=now,
        lifetime_s=60.0,
        gone_at=now + 60,
        is_for_all=False,
        may_be_stale=True,
        timestamp=1_700_000_000,
        size=2000,
    )


async def commands(store: Store) -> list[tuple[str, UUID | None, dict[str, Any]]]:
    query = text("SELECT name, subject, arguments FROM commands ORDER BY version")
    async with store.autocommit() as session:
        return [(it.name, it.subject, it.arguments) for it in await session.execute(query)]


@pytest.fixture
async def plugin_id(client: Client) -> UUID:
    config = {"strategy": "memory"}
    return UUID((await created(client, "/plugins", name="proxy-cache", config=config))["id"])


@pytest.fixture
def cache(node: StandingNode, plugin_id: UUID) -> ResponseStore:
    """What the node keeps: one response."""
    cache = node.shared["proxy-cache"] = ResponseStore(10_000_000)
    cache.keep(KEY.encode(), entry(cache, plugin_id))
    return cache


async def test_a_response_is_told(
    client: Client, node: StandingNode, cache: ResponseStore, plugin_id: UUID
):
    for path in (f"/proxy-cache/{KEY}", f"/proxy-cache/{plugin_id}/caches/{KEY}"):
        answer = await client.get(path)
        told = answer.json()
        assert answer.status_code == 200
        assert 0 <= told.pop("age") < 60
        assert told == {
            "status": 404,
            "headers": {"content-type": ["text/plain"], "x-a": ["1", "2"]},
            "body": "hello",
            "body_len": 5,
            "timestamp": 1_700_000_000,
            "ttl": 60,
            "plugin": {"id": str(plugin_id)},
            "node_id": str(node.identity.id),
        }


@pytest.mark.parametrize("body", [b"\xff", b"x" * (LARGEST_TOLD_BYTES + 1)])
async def test_what_is_no_text_or_too_much_is_not_told(
    client: Client, cache: ResponseStore, plugin_id: UUID, body: bytes
):
    cache.keep(KEY.encode(), entry(cache, plugin_id, body))
    told = (await client.get(f"/proxy-cache/{KEY}")).json()
    assert (told["body"], told["body_len"]) == (None, len(body))


@pytest.mark.parametrize(
    "path",
    [
        f"/proxy-cache/{UNKNOWN}",
        "/proxy-cache/nonsense",
        f"/proxy-cache/{KEY.upper()}",
        "/proxy-cache/{plugin}/caches/" + UNKNOWN,
        "/proxy-cache/{other}/caches/" + KEY,
        "/proxy-cache/{another}/caches/" + KEY,
        f"/proxy-cache/nonsense/caches/{KEY}",
        f"/proxy-cache/{UUID(int=0)}/caches/{KEY}",
    ],
)
async def test_what_is_not_there(client: Client, cache: ResponseStore, plugin_id: UUID, path: str):
    other = await created(client, "/plugins", name="gate-key")
    await created(client, "/services", name="orders", host="a")
    another = await created(
        client, "/services/orders/plugins", name="proxy-cache", config={"strategy": "memory"}
    )
    path = path.format(plugin=plugin_id, other=other["id"], another=another["id"])
    for method in ("GET", "DELETE"):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert len(cache) == 1


async def test_a_purge_is_a_command(
    client: Client, store: Store, cache: ResponseStore, plugin_id: UUID
):
    versions = []
    for path in (
        "/proxy-cache",
        f"/proxy-cache/{KEY}",
        f"/proxy-cache/{plugin_id}/caches/{KEY}",
    ):
        answer = await client.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        versions.append(int(answer.headers["X-Gateway-Config-Version"]))
    assert sorted(set(versions)) == versions
    assert await commands(store) == [
        (PURGE, None, {"key": None}),
        (PURGE, None, {"key": KEY}),
        (PURGE, plugin_id, {"key": KEY}),
    ]
    (newest, *_) = (await client.get("/audit?kind=commands")).json()["data"]
    assert newest["after"]["arguments"] == {"key": KEY}


async def test_other_nodes_may_have_what_this_one_has_not(client: Client, store: Store):
    answer = await client.delete(f"/proxy-cache/{UNKNOWN}")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert "X-Gateway-Config-Version" in answer.headers
    assert await commands(store) == [(PURGE, None, {"key": UNKNOWN})]


async def test_a_control_plane_keeps_nothing_but_has_it_purged(
    settings: NodeSettings, store: Store
):
    node = StandingNode(settings.model_copy(update={"role": Role.CONTROL_PLANE}))
    async with client_of(store, node) as client:
        assert (await client.get(f"/proxy-cache/{KEY}")).status_code == 404
        assert (await client.delete(f"/proxy-cache/{KEY}")).status_code == 204
    assert await commands(store) == [(PURGE, None, {"key": KEY})]


async def test_there_is_no_more_to_it(client: Client):
    assert (await client.get("/proxy-cache")).status_code == 405
    assert (await client.post("/proxy-cache", json={})).status_code == 405

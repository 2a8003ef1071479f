"""What a control plane tells of the data planes, and what other nodes say instead."""

from __future__ import annotations

import time
from dataclasses import replace
from uuid import UUID

import httpx
import pytest

from gateway.settings import NodeSettings, Role
from gateway.store.data_planes import DataPlaneTable
from gateway.store.store import Store
from tests.store.data_planes import EXPIRES_AT, a_report

from .conftest import StandingNode, client_of, created

Client = httpx.AsyncClient


@pytest.fixture
def settings(database_url: str) -> NodeSettings:
    return NodeSettings(
        database_url=database_url,
        node_name="node-0",
        role=Role.CONTROL_PLANE,
        data_plane_purge_delay_s=3600,
    )


@pytest.fixture
def table(store: Store) -> DataPlaneTable:
    return DataPlaneTable(store)


async def test_a_data_plane_is_told_of_in_kongs_words_and_ours(
    client: Client, table: DataPlaneTable
):
    health = {"checked": 2, "unhealthy": 0, "addresses": []}
    report = replace(a_report(), heard_ago_s=60.0, health=health)
    await table.write([report])
    (shown,) = (await client.get("/clustering/data-planes")).json()["data"]
    assert abs(shown.pop("last_seen") - (time.time() - 60)) < 30
    assert shown.pop("updated_at") <= time.time() - 60
    assert shown.pop("first_seen") <= time.time()
    assert 60 <= shown.pop("last_seen_age_s") < 90
    assert 3510 < shown.pop("ttl") <= 3540
    assert shown == {
        "id": str(report.id),
        "ip": "10.0.0.1",
        "hostname": "edge-1",
        "version": "0.1.0",
        "config_hash": "0" * 32,
        "sync_status": "unknown",
        "labels": {"region": "eu"},
        "cert_details": {"expiry_timestamp": int(EXPIRES_AT.timestamp())},
        "rpc_capabilities": [],
        "applied_version": None,
        "lag": None,
        "control_plane_id": str(report.control_plane_id),
        "health": health,
    }


async def test_the_hash_is_the_newest_ones_only_while_a_data_plane_is_in_sync(
    client: Client, table: DataPlaneTable
):
    await created(client, "/services", url="http://up")
    newest = (await table.page(1)).newest
    in_sync = replace(
        a_report(),
        applied_version=newest.version,
        applied_committed_at=newest.committed_at,
        sync_status="normal",
    )
    await table.write([in_sync])
    page = (await client.get("/clustering/data-planes")).json()
    (shown,) = page["data"]
    assert shown["lag"] == 0
    assert shown["config_hash"] == page["config_hash"]
    assert page["config_version"] == newest.version
    await created(client, "/services", url="http://up")
    page = (await client.get("/clustering/data-planes")).json()
    (shown,) = page["data"]
    assert shown["lag"] == 1
    assert shown["config_hash"] != page["config_hash"]
    assert page["config_version"] == newest.version + 1


async def test_a_version_of_another_history_is_not_in_sync(client: Client, table: DataPlaneTable):
    await created(client, "/services", url="http://up")
    newest = (await table.page(1)).newest
    of_before_a_restore = replace(
        a_report(), applied_version=newest.version, applied_committed_at=EXPIRES_AT
    )
    await table.write([of_before_a_restore])
    page = (await client.get("/clustering/data-planes")).json()
    assert page["data"][0]["config_hash"] not in (page["config_hash"], "0" * 32)


async def test_data_planes_come_in_pages(client: Client, table: DataPlaneTable):
    await table.write([a_report(number) for number in range(1, 6)])
    names, path = [], "/clustering/data-planes?size=2"
    while path:
        page = (await client.get(path)).json()
        assert len(page["data"]) <= 2
        names += [shown["hostname"] for shown in page["data"]]
        path = page["next"]
    assert names == [f"edge-{number}" for number in range(1, 6)]


@pytest.mark.parametrize("query", ["size=0", "size=x", "offset=x"])
async def test_pages_that_cannot_be_are_refused(client: Client, query: str):
    assert (await client.get(f"/clustering/data-planes?{query}")).status_code == 400


async def test_the_old_status_is_deprecated(client: Client, table: DataPlaneTable):
    await table.write([a_report(1), a_report(2)])
    response = await client.get("/clustering/status")
    assert response.headers["Deprecation"] == "true"
    shown = response.json()
    assert list(shown) == [str(UUID(int=1)), str(UUID(int=2))]
    assert set(shown[str(UUID(int=1))]) == {"config_hash", "hostname", "ip", "last_seen"}


@pytest.mark.parametrize("path", ["/clustering/data-planes", "/clustering/status"])
async def test_a_node_that_is_no_control_plane_says_so(
    client: Client, node: StandingNode, store: Store, path: str
):
    traditional = StandingNode(node.settings.model_copy(update={"role": Role.TRADITIONAL}))
    async with client_of(store, traditional) as other:
        response = await other.get(path)
    assert response.status_code == 400
    assert "control-plane" in response.json()["message"]

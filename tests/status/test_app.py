"""The status listener: alive, ready or why not, and what the node is busy with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import __version__
from gateway.metrics.apply import ApplyMetrics
from gateway.metrics.exposition import Exposition
from gateway.metrics.traffic import TrafficMetrics
from gateway.settings import NodeSettings, Role
from gateway.status.app import create_app
from gateway.status.facts import BadEntity
from gateway.store.source import VersionMark
from gateway.sync.status import SyncState

from .node import EPOCH, NODE_ID, STARTED_AT, SomeDiskCopy, SomeNode, some_node


@pytest.fixture
def node() -> SomeNode:
    return some_node()


@pytest.fixture
async def client(node: SomeNode) -> AsyncIterator[httpx.AsyncClient]:
    exposition = Exposition(node, TrafficMetrics(), ApplyMetrics(), lambda _: True)
    transport = httpx.ASGITransport(create_app(node, exposition))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        yield client


async def ready(client: httpx.AsyncClient) -> tuple[int, Any]:
    response = await client.get("/status/ready")
    return response.status_code, response.json()["message"]


async def test_a_node_is_ready_once_it_has_a_configuration(
    client: httpx.AsyncClient, node: SomeNode
):
    assert await ready(client) == (503, "no configuration loaded yet")
    node.load(1)
    assert await ready(client) == (200, "ready")


async def test_a_node_without_its_database_stays_ready(client: httpx.AsyncClient, node: SomeNode):
    node.load(1)
    node.sync.state = SyncState.DATABASE_UNAVAILABLE
    node.sync.last_error = "connection refused"
    assert await ready(client) == (200, "ready")
    report = (await client.get("/status")).json()
    assert report["database"] == {"reachable": False}
    assert report["sync"]["last_error"] == "connection refused"


@pytest.mark.parametrize("lacking", ["last_success", "last_reported"])
async def test_with_a_limit_a_node_that_is_out_of_touch_is_not_ready(
    client: httpx.AsyncClient, node: SomeNode, lacking: str
):
    node.load(1)
    node.sync.last_reported = time.monotonic()
    node.sync.returned_at = node.sync.last_reported - 60
    node.settings = NodeSettings(max_stale_s=30)
    assert await ready(client) == (200, "ready")
    setattr(node.sync, lacking, time.monotonic() - 31)
    assert await ready(client) == (503, "not synced for longer than 30 s")
    setattr(node.sync, lacking, None)
    assert await ready(client) == (503, "not synced for longer than 30 s")


async def test_a_node_is_not_ready_before_all_its_listeners_accept(
    client: httpx.AsyncClient, node: SomeNode
):
    node.load(1)
    node.starting = True
    assert await ready(client) == (503, "starting")


async def test_a_stopping_node_is_not_ready(client: httpx.AsyncClient, node: SomeNode):
    node.load(1)
    node.draining = True
    assert await ready(client) == (503, "draining")
    assert (await client.get("/status")).json()["node"]["ready"] is False


async def test_the_report_of_a_node_that_has_loaded_nothing(client: httpx.AsyncClient):
    response = await client.get("/status")
    assert response.status_code == 200
    sync = response.json()["sync"]
    assert sync["state"] == "starting"
    for field in ("epoch", "applied_version", "seen_version", "seconds_since_success"):
        assert sync[field] is None


async def test_the_report_of_a_node_at_work(client: httpx.AsyncClient, node: SomeNode):
    node.load(7)
    node.sync.seen_version = 9
    node.sync.last_success = time.monotonic() - 2
    node.sync.last_apply_s, node.sync.last_propagation_s = 0.0012, 0.0034567
    node.sync.strategy_restarts, node.sync.strategy_problem = 1, "it returned"
    node.bad = [BadEntity("routes", "42", "no such protocol", "orders")]
    report = (await client.get("/status")).json()
    assert report["sync"].pop("seconds_since_success") >= 2
    assert report == {
        "node": {
            "id": str(NODE_ID),
            "name": "node-a",
            "version": __version__,
            "started_at": "2026-01-01T00:00:00+00:00",
            "proxy_address": "127.0.0.1:8000",
            "admin_address": "127.0.0.1:8001",
            "status_address": "127.0.0.1:8100",
            "ready": True,
        },
        "sync": {
            "strategy": "notify",
            "state": "synced",
            "source": "database",
            "epoch": str(EPOCH),
            "applied_version": 7,
            "applied_committed_at": "2026-01-01T00:00:00+00:00",
            "seen_version": 9,
            "last_error": None,
            "last_apply_ms": 1.2,
            "last_propagation_ms": 3.457,
            "strategy_restarts": 1,
            "strategy_problem": "it returned",
        },
        "server": {
            "connections_accepted": 10,
            "connections_handled": 9,
            "connections_active": 6,
            "connections_reading": 1,
            "connections_writing": 2,
            "connections_waiting": 3,
            "total_requests": 100,
        },
        "database": {"reachable": True},
        "disk_copy": None,
        "bad_entities": [
            {"entity": "routes", "id": "42", "name": "orders", "reason": "no such protocol"}
        ],
    }


async def test_a_node_that_started_from_its_disk_copy_says_so(
    client: httpx.AsyncClient, node: SomeNode
):
    node.sync.note_loaded_from_disk(VersionMark(EPOCH, 7, STARTED_AT), "connection refused")
    assert await ready(client) == (200, "ready")
    sync = (await client.get("/status")).json()["sync"]
    assert (sync["source"], sync["state"]) == ("disk", "database unavailable")
    assert (sync["applied_version"], sync["last_error"]) == (7, "connection refused")
    assert sync["seconds_since_success"] is None


async def test_a_data_plane_has_its_configuration_from_a_control_plane(
    client: httpx.AsyncClient, node: SomeNode
):
    node.settings = NodeSettings(role=Role.DATA_PLANE)
    assert (await client.get("/status")).json()["sync"]["source"] == "control plane"


async def test_a_disk_copy_that_is_not_kept_is_reported(client: httpx.AsyncClient, node: SomeNode):
    node.disk_copy = SomeDiskCopy(Path("snapshots/a"))
    empty = {"path": "snapshots/a", "version": None, "problem": None}
    assert (await client.get("/status")).json()["disk_copy"] == empty
    node.disk_copy = SomeDiskCopy(
        Path("snapshots/a"), VersionMark(EPOCH, 7, STARTED_AT), "the disk is full"
    )
    failing = {"path": "snapshots/a", "version": 7, "problem": "the disk is full"}
    assert (await client.get("/status")).json()["disk_copy"] == failing


async def test_metrics_come_in_the_text_format(client: httpx.AsyncClient):
    response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert list(text_string_to_metric_families(response.text))


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/", 404, "Not found"),
        ("GET", "/services", 404, "Not found"),
        ("POST", "/status", 405, "Method Not Allowed"),
    ],
)
async def test_anything_else_is_refused_in_json(
    client: httpx.AsyncClient, method: str, path: str, status: int, message: str
):
    response = await client.request(method, path)
    assert (response.status_code, response.json()) == (status, {"message": message})

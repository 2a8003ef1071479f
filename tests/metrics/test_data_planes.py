"""What a control plane's metrics say of each data plane, read by the official parser."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.hybrid.protocol import Applied
from gateway.hybrid.register import DataPlaneFacts
from gateway.metrics.apply import ApplyMetrics
from gateway.metrics.exposition import Exposition
from gateway.metrics.traffic import TrafficMetrics
from tests.status.node import STARTED_AT, some_node

EXPIRES_AT = datetime(2030, 1, 1, tzinfo=UTC)
NEWEST = 42

Samples = dict[str, dict[str, float]]


def facts(number: int = 1) -> DataPlaneFacts:
    return DataPlaneFacts(
        id=UUID(int=number),
        name=f"edge-{number}",
        ip="10.0.0.1",
        software_version="0.1.0",
        applied=Applied(version=NEWEST, committed_at=STARTED_AT),
        status="normal",
        cert_expires_at=EXPIRES_AT,
        age_s=1.5,
    )


async def scrape(*data_planes: DataPlaneFacts, compat: str = "none") -> Samples:
    """Return the values of what is about data planes, by name and then by data plane."""
    node = some_node(compat=compat, role="control-plane")
    node.load(NEWEST)
    exposition = Exposition(
        node, TrafficMetrics(), ApplyMetrics(), lambda _: False, lambda: list(data_planes)
    )
    text = b"".join([piece async for piece in exposition.render()]).decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "data_plane" in sample.name:
                assert sample.labels["ip"] == "10.0.0.1"
                found.setdefault(sample.name, {})[sample.labels["hostname"]] = sample.value
    return found


async def test_each_data_plane_is_told_of_with_its_version_and_age() -> None:
    behind = replace(facts(2), applied=Applied(version=40, committed_at=STARTED_AT), age_s=60.0)
    empty = replace(facts(3), applied=None)
    found = await scrape(facts(1), behind, empty)
    assert found["gateway_data_plane_config_version_applied"] == {
        "edge-1": 42,
        "edge-2": 40,
        "edge-3": 0,
    }
    assert found["gateway_data_plane_config_version_lag"] == {
        "edge-1": 0,
        "edge-2": 2,
        "edge-3": 42,
    }
    assert found["gateway_data_plane_age_seconds"] == {"edge-1": 1.5, "edge-2": 60.0, "edge-3": 1.5}
    assert abs(found["gateway_data_plane_last_seen"]["edge-2"] - (time.time() - 60)) < 30
    assert found["gateway_data_plane_cluster_cert_expiry_timestamp"]["edge-1"] == (
        EXPIRES_AT.timestamp()
    )
    hashes = found["gateway_data_plane_config_hash"]
    assert hashes["edge-3"] == 0
    assert len(set(hashes.values())) == 3


async def test_data_planes_in_sync_have_the_same_hash() -> None:
    found = await scrape(facts(1), facts(2))
    hashes = found["gateway_data_plane_config_hash"]
    assert hashes["edge-1"] == hashes["edge-2"] > 0


async def test_an_unfit_release_shows() -> None:
    unfit = replace(facts(2), status="kong_version_incompatible")
    found = await scrape(facts(1), unfit)
    assert found["gateway_data_plane_version_compatible"] == {"edge-1": 1, "edge-2": 0}


async def test_what_is_not_known_is_left_out() -> None:
    found = await scrape(replace(facts(), cert_expires_at=None))
    assert "gateway_data_plane_cluster_cert_expiry_timestamp" not in found


@pytest.mark.parametrize(
    "name",
    ["last_seen", "config_hash", "version_compatible", "cluster_cert_expiry_timestamp"],
)
async def test_kongs_names_are_used_where_asked_for(name: str) -> None:
    assert f"kong_data_plane_{name}" in await scrape(facts(), compat="kong")


async def test_many_data_planes_are_told_of_once_each() -> None:
    found = await scrape(*(facts(number) for number in range(1, 101)))
    assert len(found["gateway_data_plane_age_seconds"]) == 100


async def test_other_nodes_do_not_speak_of_data_planes() -> None:
    node = some_node()
    node.load(NEWEST)
    exposition = Exposition(node, TrafficMetrics(), ApplyMetrics(), lambda _: False)
    text = b"".join([piece async for piece in exposition.render()]).decode()
    assert "data_plane" not in text

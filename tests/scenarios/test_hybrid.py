"""Hybrid mode as operators run it: control planes that die, data planes that go on serving."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.hybrid.certificates import ClusterPair, make_pair
from gateway.store.embedded import EmbeddedPostgres

from .conftest import StartNodes
from .nodes import NodeProcess, all_reach, http_client, until
from .traffic import SteadyTraffic
from .upstream import Upstream

GOES_AND_COMES = ("sync fails, the last good configuration stays", "sync works again")
OFTEN = {"poll_interval_s": 0.2, "heartbeat_interval_s": 0.2}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> ClusterPair:
    return make_pair(tmp_path_factory.mktemp("pair"), days=90)


@dataclass
class Planes:
    """Starts control planes and data planes that share a pair, and keeps their disk copies."""

    start_nodes: StartNodes
    pair: ClusterPair
    snapshot_dir: Path
    names: Iterator[int] = field(default_factory=lambda: iter(range(1, 100)))

    async def control_plane(self, **settings: object) -> NodeProcess:
        settings = {"role": "control-plane", "cluster_port": 0, **self._shared(), **settings}
        (node,) = await self.start_nodes(1, **settings)
        return node

    async def data_plane(self, *control_planes: NodeProcess, **settings: object) -> NodeProcess:
        addresses = ",".join(node.addresses["cluster"] for node in control_planes)
        settings = {"control_planes": addresses, **self.of_a_data_plane(), **settings}
        (node,) = await self.start_nodes(1, **settings)
        return node

    def of_a_data_plane(self) -> dict[str, object]:
        """Return what a data plane needs beside the addresses of control planes."""
        return {
            "role": "data-plane",
            "database_url": "",
            "node_name": f"edge-{next(self.names)}",
            "snapshot_dir": self.snapshot_dir,
            **self._shared(),
        }

    def _shared(self) -> dict[str, object]:
        pair = self.pair
        paths = {"cluster_cert": pair.certificate_path, "cluster_cert_key": pair.key_path}
        return OFTEN | paths


@pytest.fixture
def planes(start_nodes: StartNodes, pair: ClusterPair, tmp_path: Path) -> Planes:
    return Planes(start_nodes, pair, tmp_path)


async def serve_orders(control_plane: NodeProcess, upstream: Upstream) -> int:
    """Write something to serve; return its version."""
    await control_plane.write("PUT", "/services/orders", {"url": upstream.url})
    return await control_plane.write(
        "PUT", "/services/orders/routes/orders", {"paths": ["/orders"]}
    )


async def data_planes(control_plane: NodeProcess) -> dict[str, dict[str, Any]]:
    """Return what a control plane lists, by name."""
    page = (await control_plane.admin("GET", "/clustering/data-planes")).json()
    return {shown["hostname"]: shown for shown in page["data"]}


def name_of(node: NodeProcess) -> str:
    """Return what a node calls itself."""
    return str(node.addresses["node"])


def address(node: NodeProcess, listener: str) -> dict[str, object]:
    """Return the setting that lets another process take a node's place."""
    return {f"{listener}_port": node.port(listener)}


# -- one configuration for all


async def test_a_write_on_one_control_plane_reaches_the_data_planes_of_all(
    planes: Planes, upstream: Upstream
) -> None:
    first, second = await asyncio.gather(planes.control_plane(), planes.control_plane())
    edges = await asyncio.gather(planes.data_plane(first), planes.data_plane(second))
    await all_reach(edges, await serve_orders(first, upstream))
    for edge in edges:
        assert (await edge.proxy("/orders/1")).status_code == 200
    await all_reach(edges, await second.write("DELETE", "/routes/orders"))
    for edge in edges:
        assert (await edge.proxy("/orders/1")).status_code == 404
        assert set(edge.addresses) & {"admin", "proxy", "status", "cluster"} == {"proxy", "status"}


async def test_any_control_plane_tells_how_far_every_data_plane_is(
    planes: Planes, upstream: Upstream
) -> None:
    first, second = await asyncio.gather(planes.control_plane(), planes.control_plane())
    edges = await asyncio.gather(
        planes.data_plane(first, data_plane_labels="region:eu,tier:gold"),
        planes.data_plane(second),
    )
    version = await serve_orders(first, upstream)

    async def all_tell(control_plane: NodeProcess) -> dict[str, dict[str, Any]] | None:
        shown = await data_planes(control_plane)
        return (
            shown if {plane["applied_version"] for plane in shown.values()} == {version} else None
        )

    for control_plane in (first, second):
        shown = await until(lambda asked=control_plane: all_tell(asked))
        assert set(shown) == {name_of(edge) for edge in edges}
        page = (await control_plane.admin("GET", "/clustering/data-planes")).json()
        for plane in shown.values():
            assert plane["sync_status"] == "normal"
            assert plane["config_hash"] == page["config_hash"]
            assert plane["ip"] == "127.0.0.1"
            assert plane["last_seen_age_s"] < 30
    labels = [plane["labels"] for plane in shown.values()]
    assert {"region": "eu", "tier": "gold"} in labels
    assert (await first.admin("GET", "/clustering/status")).headers["Deprecation"] == "true"
    assert [node["role"] for node in (await first.cluster()).values()] == ["control-plane"] * 2


async def test_metrics_of_a_control_plane_name_each_data_plane(
    planes: Planes, upstream: Upstream
) -> None:
    control_plane = await planes.control_plane()
    edge = await planes.data_plane(control_plane)
    version = await serve_orders(control_plane, upstream)
    name = name_of(edge)

    async def tells_the_version() -> bool:
        metrics = await control_plane.metrics()
        applied = metrics.values("gateway_data_plane_config_version_applied", hostname=name)
        return list(applied) == [version]

    await until(tells_the_version)
    metrics = await control_plane.metrics()
    assert metrics.value("gateway_data_plane_config_version_lag", hostname=name) == 0
    assert metrics.value("gateway_data_plane_age_seconds", hostname=name) < 30
    assert metrics.value("gateway_data_plane_version_compatible", hostname=name) == 1
    assert metrics.value("gateway_data_plane_config_hash", hostname=name) > 0
    assert (await edge.metrics()).value("gateway_config_version_applied") == version


async def test_a_write_that_waits_for_the_cluster_waits_for_data_planes(
    planes: Planes, upstream: Upstream
) -> None:
    first, second = await asyncio.gather(planes.control_plane(), planes.control_plane())
    edges = await asyncio.gather(*(planes.data_plane(plane) for plane in (first, second)))
    await serve_orders(first, upstream)
    for number in range(20):
        path = f"/orders-{number}"
        written = await first.admin(
            "PATCH", "/routes/orders?wait=cluster&timeout=30s", {"paths": [path]}
        )
        assert written.headers["X-Gateway-Propagation"] == "2/2"
        for edge in edges:
            assert (await edge.proxy(path)).status_code == 200
            assert (await edge.proxy(f"/orders-{number - 1}")).status_code == 404


async def test_who_has_written_reads_it_at_a_data_plane_of_another_control_plane(
    planes: Planes, upstream: Upstream
) -> None:
    first, second = await asyncio.gather(planes.control_plane(), planes.control_plane())
    edge = await planes.data_plane(second)
    await serve_orders(first, upstream)
    for number in range(20):
        path = f"/orders-{number}"
        version = await first.write("PATCH", "/routes/orders", {"paths": [path]})
        asked = {"X-Gateway-Min-Version": str(version)}
        assert (await edge.proxy(path, headers=asked)).status_code == 200


# -- what may fail


async def test_data_planes_of_a_killed_control_plane_move_to_another(
    planes: Planes, upstream: Upstream
) -> None:
    first, second = await asyncio.gather(planes.control_plane(), planes.control_plane())
    edges = await asyncio.gather(*(planes.data_plane(first, second) for _ in range(2)))
    await all_reach(edges, await serve_orders(first, upstream))
    async with SteadyTraffic.to(*(f"http://{e.addresses['proxy']}/orders" for e in edges)) as load:
        await load.goes_on()
        await first.kill()
        await all_reach(edges, await second.write("PATCH", "/services/orders", {"retries": 1}))
        await load.goes_on()
    assert load.failures == []
    assert {answer for answers in load.answers.values() for answer in answers} == {(200, "/")}

    async def are_all_its() -> bool:
        identity = (await second.report())["node"]["id"]
        shown = (await data_planes(second)).values()
        return [plane["control_plane_id"] for plane in shown] == [identity] * len(edges)

    await until(are_all_its)


async def test_data_planes_of_a_stopping_control_plane_are_sent_to_another(
    planes: Planes, upstream: Upstream
) -> None:
    first, second = await asyncio.gather(planes.control_plane(), planes.control_plane())
    edge = await planes.data_plane(first, second)
    await all_reach([edge], await serve_orders(first, upstream))
    assert await first.stop() == 0
    await all_reach([edge], await second.write("PATCH", "/services/orders", {"retries": 1}))


async def test_without_any_control_plane_data_planes_serve_on_even_when_restarted(
    planes: Planes, upstream: Upstream
) -> None:
    control_plane = await planes.control_plane()
    settings = planes.of_a_data_plane()
    edge = await planes.data_plane(control_plane, **settings)
    version = await serve_orders(control_plane, upstream)
    await all_reach([edge], version)
    await edge.copies(version)
    identity = (await edge.report())["node"]["id"]
    await control_plane.kill()
    await edge.logged(GOES_AND_COMES[0])
    assert (await edge.proxy("/orders")).status_code == 200
    await edge.kill()

    again = await planes.data_plane(control_plane, **settings)
    report = await again.report()
    assert report["node"]["id"] == identity
    assert report["sync"]["applied_version"] == version
    assert (await again.proxy("/orders")).status_code == 200

    back = await planes.control_plane(**address(control_plane, "cluster"))
    await all_reach([again], await back.write("DELETE", "/routes/orders"))
    assert (await again.proxy("/orders")).status_code == 404


async def test_a_stopped_database_costs_data_planes_nothing(
    planes: Planes, upstream: Upstream, own_postgres: EmbeddedPostgres
) -> None:
    control_plane = await planes.control_plane(database_url=own_postgres.url())
    edge = await planes.data_plane(control_plane)
    await all_reach([edge], await serve_orders(control_plane, upstream))
    async with SteadyTraffic.to(f"http://{edge.addresses['proxy']}/orders") as load:
        await load.goes_on()
        await asyncio.to_thread(own_postgres.stop)
        await edge.becomes("database unavailable")
        assert "control plane" in (await edge.report())["sync"]["last_error"]
        await load.goes_on()
        await asyncio.to_thread(own_postgres.start)
        await edge.becomes("synced")
        await load.goes_on()
    assert load.failures == []
    assert set(load.answers.popitem()[1]) == {(200, "/")}
    version = await control_plane.write("PATCH", "/services/orders", {"retries": 1})
    await all_reach([edge], version)
    for said_once in GOES_AND_COMES:
        assert len(edge.lines_of(said_once)) == 1


async def test_a_data_plane_that_stops_in_good_order_leaves_the_list(planes: Planes) -> None:
    control_plane = await planes.control_plane()
    edge = await planes.data_plane(control_plane)
    assert set(await data_planes(control_plane)) == {name_of(edge)}
    assert await edge.stop() == 0
    assert await data_planes(control_plane) == {}


# -- who may come in


async def complaint(**settings: object) -> str:
    """Return the line in which a node says why it does not start."""
    async with http_client() as http:
        node = await NodeProcess("node", http, **settings).begin()
        try:
            assert await node.ends() == 1
        finally:
            if node.is_running:
                await node.kill()
    (line,) = node.noise
    return line


async def test_a_data_plane_with_another_pair_is_refused_and_both_sides_say_so(
    planes: Planes, upstream: Upstream, tmp_path: Path
) -> None:
    control_plane = await planes.control_plane()
    await serve_orders(control_plane, upstream)
    other = make_pair(tmp_path / "other", days=90)
    stranger = Planes(planes.start_nodes, other, tmp_path).of_a_data_plane()
    line = await complaint(**stranger, control_planes=control_plane.addresses["cluster"])
    assert "shows another certificate than ours" in line
    await control_plane.logged("peer refused at the cluster listener", peer="127.0.0.1")
    assert await data_planes(control_plane) == {}


async def test_a_client_without_a_certificate_is_not_answered(planes: Planes) -> None:
    control_plane = await planes.control_plane()
    async with http_client() as anonymous:
        with pytest.raises(httpx.TransportError):
            await anonymous.get(f"https://{control_plane.addresses['cluster']}/v1/data-plane")
    await control_plane.logged("peer refused at the cluster listener", peer="127.0.0.1")


async def test_a_data_plane_pointed_at_another_listener_says_so(planes: Planes) -> None:
    control_plane = await planes.control_plane()
    wrong = {"control_planes": control_plane.addresses["admin"]}
    line = await complaint(**planes.of_a_data_plane() | wrong)
    assert "not the cluster listener of a control plane" in line
    assert "--cluster-port" in line


async def test_a_data_plane_without_control_planes_or_disk_copy_says_so(planes: Planes) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        line = await complaint(**planes.of_a_data_plane(), control_planes=nobody)
    assert f"no control plane answers: {nobody}: connection refused" in line


@pytest.mark.parametrize("role", ["control-plane", "data-plane"])
async def test_a_node_without_the_pair_says_how_to_make_one(role: str, database_url: str) -> None:
    line = await complaint(role=role, database_url=database_url)
    assert "--cluster-cert" in line
    assert "gateway hybrid certs" in line


async def test_a_key_of_another_certificate_is_refused(
    planes: Planes, pair: ClusterPair, tmp_path: Path, database_url: str
) -> None:
    other = make_pair(tmp_path / "other", days=90)
    shared: dict[str, object] = {
        "cluster_cert": pair.certificate_path,
        "cluster_cert_key": other.key_path,
    }
    line = await complaint(role="control-plane", database_url=database_url, **shared)
    assert f"the key in {other.key_path} is not that of {pair.certificate_path}" in line


async def test_a_taken_cluster_port(planes: Planes, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shared = {k: v for k, v in planes.of_a_data_plane().items() if k.startswith("cluster_")}
        line = await complaint(
            role="control-plane", database_url=database_url, cluster_port=port, **shared
        )
    assert f"port {port} of the cluster listener is taken on 127.0.0.1" in line
    assert "--cluster-port" in line

"""`gateway up` as a user meets it: real processes, real PostgreSQL, no terminal."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.up.cluster import Cluster


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Outside pytest's folder: PostgreSQL, when root starts it, runs as a user of its own."""
    parent = Path(tempfile.mkdtemp(prefix="gateway-up-"))
    yield parent / "data"
    shutil.rmtree(parent)


async def test_a_cluster_serves_survives_a_killed_node_and_stops_cleanly(data_dir: Path) -> None:
    async with Cluster(data_dir, nodes=2) as cluster:
        await cluster.printed("demo: path /demo leads to")
        for port in (cluster.proxy, cluster.proxy + 10):
            assert (await cluster.served(port, "/demo/hello")).json()["path"] == "/hello"

        killed = cluster.node_process("node-2")
        killed.kill()
        await cluster.printed("node-2 was killed by SIGKILL; next start in 0.5 s")
        assert (await cluster.served(cluster.proxy, "/demo")).is_success
        await cluster.printed("node-2 is ready")
        assert cluster.node_process("node-2").pid != killed.pid
        assert (await cluster.served(cluster.proxy + 10, "/demo")).is_success

        shown = await cluster.run(
            "cluster", "status", "--admin-url", f"http://127.0.0.1:{cluster.admin}"
        )
        assert "node-1" in shown
        assert "node-2" in shown

        assert len(cluster.children()) > 4
        asked = time.monotonic()
        assert await cluster.stop() == 0
        assert time.monotonic() - asked < 5  # the promise of Ctrl-C


async def test_a_second_run_finds_its_data_and_a_deleted_demo_stays_deleted(data_dir: Path) -> None:
    async with Cluster(data_dir, nodes=1) as cluster:
        await cluster.printed("demo: path /demo leads to")
        service = {"host": "127.0.0.1", "port": cluster.demo}
        await cluster.request("PUT", cluster.admin, "/services/mine", json=service)
        route = {"paths": ["/mine"]}
        await cluster.request("PUT", cluster.admin, "/services/mine/routes/mine", json=route)
        await cluster.served(cluster.proxy, "/mine")
        for path in ("/routes/demo", "/services/demo"):
            assert (await cluster.request("DELETE", cluster.admin, path)).status_code == 204
        assert await cluster.stop(signal.SIGINT) == 0

    async with Cluster(data_dir, nodes=1) as cluster:
        await cluster.printed("the demo service was deleted and stays deleted")
        port = {"port": cluster.demo}
        await cluster.request("PATCH", cluster.admin, "/services/mine", json=port)
        await cluster.served(cluster.proxy, "/mine")
        await cluster.served(cluster.proxy, "/demo", status=404)


async def test_nothing_outlives_a_killed_up(data_dir: Path) -> None:
    async with Cluster(data_dir, "--no-demo", nodes=1) as cluster:
        await cluster.printed("node-1 is ready")
        assert await cluster.stop(signal.SIGKILL) == -signal.SIGKILL


async def test_nodes_share_one_proxy_port_when_asked_to(data_dir: Path) -> None:
    async with Cluster(data_dir, "--shared-proxy-port", nodes=2) as cluster:
        await cluster.printed("demo: path /demo leads to")
        for status in (cluster.status, cluster.status + 10):  # ready is who accepts on all ports
            await cluster.served(status, "/status/ready")
        await cluster.served(cluster.proxy, "/demo")
        listening = [
            connection.laddr.port
            for name in ("node-1", "node-2")
            for connection in cluster.node_process(name).net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening.count(cluster.proxy) == 2


async def refusal(cluster: Cluster) -> str:
    """Return the one line with which `gateway up` gives up, leaving nothing behind."""
    async with cluster:
        output, _ = await asyncio.wait_for(cluster.process.communicate(), 30)
        assert cluster.process.returncode == 1
        (line,) = [line for line in output.decode().splitlines() if line.startswith("gateway: ")]
        assert "Traceback" not in output.decode()
        return line


async def test_a_taken_port_is_said_before_anything_starts(data_dir: Path) -> None:
    cluster = Cluster(data_dir, nodes=2)
    with socket.create_server(("127.0.0.1", cluster.admin + 10)):
        line = await refusal(cluster)
    assert f"port {cluster.admin + 10} on 127.0.0.1 is taken: the Admin API of node-2" in line
    assert "--admin-port (GATEWAY_ADMIN_PORT)" in line


async def test_an_unreachable_database_is_said_without_its_password(data_dir: Path) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/gateway"
    line = await refusal(Cluster(data_dir, "--database-url", url, nodes=1))
    assert "--database-url (GATEWAY_DATABASE_URL)" in line
    assert "Connection refused" in line
    assert "hunter2" not in line


async def test_a_schema_of_a_newer_release_is_left_alone(
    data_dir: Path, empty_database_url: str
) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE gateway_schema (version_num text)")
        connection.execute("INSERT INTO gateway_schema VALUES ('9999')")
    line = await refusal(Cluster(data_dir, "--database-url", empty_database_url, nodes=1))
    assert "the schema is 9999, which this software" in line


async def test_two_clusters_cannot_have_one_data_dir(data_dir: Path) -> None:
    async with Cluster(data_dir, "--no-demo", nodes=1) as first:
        await first.printed("node-1 is ready")
        line = await refusal(Cluster(data_dir, nodes=1))
        assert "is in use by another `gateway up` (process " in line

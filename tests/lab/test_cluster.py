"""The lab's cluster: real nodes that can be hurt, and nothing left of them afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from gateway.lab.cluster import LabCluster, LabError, LabNode
from gateway.lab.upstream import EchoUpstream
from tests.scenarios.nodes import http_client, until

DEADLINE_S = 30


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


async def configure(http: httpx.AsyncClient, node: LabNode, upstream: EchoUpstream) -> None:
    service = {"url": upstream.url}
    (await http.put(f"{node.url('admin')}/services/s", json=service)).raise_for_status()
    route = {"paths": ["/s"], "service": {"name": "s"}}
    (await http.put(f"{node.url('admin')}/routes/r", json=route)).raise_for_status()


async def serves(http: httpx.AsyncClient, node: LabNode) -> None:
    async def has_answered() -> bool:
        return (await http.get(f"{node.url('proxy')}/s/hello")).text == "/hello"

    await until(has_answered)


async def test_a_cluster_with_its_own_postgresql_leaves_nothing_behind(
    http: httpx.AsyncClient,
) -> None:
    others = set(psutil.Process().children(recursive=True))
    async with EchoUpstream() as upstream, LabCluster() as cluster:
        writing, serving = await cluster.start_nodes(2)
        await configure(http, writing, upstream)
        await serves(http, serving)
        assert (cluster.directory / "logs" / "node-2.log").exists()
        processes = set(psutil.Process().children(recursive=True)) - others
        assert {writing.pid, serving.pid, cluster.postgres.pid} < {p.pid for p in processes}
        await cluster.stop_postgres()
        await serves(http, serving)
        await cluster.start_postgres()
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert not alive
    assert not cluster.directory.exists()


async def test_a_killed_node_comes_back_where_it_was(
    http: httpx.AsyncClient, database_url: str
) -> None:
    async with EchoUpstream() as upstream, LabCluster(database_url=database_url) as cluster:
        node = await cluster.start_node()
        await configure(http, node, upstream)
        before, pid = node.addresses, node.pid
        await node.kill()
        assert node.pid is None
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{node.url('status')}/status")
        await node.start()
        assert node.pid not in (None, pid)
        assert node.addresses == before
        await serves(http, node)


async def test_a_paused_node_goes_on_and_can_be_stopped_while_it_is_paused(
    http: httpx.AsyncClient, database_url: str
) -> None:
    async with EchoUpstream() as upstream, LabCluster(database_url=database_url) as cluster:
        node = await cluster.start_node()
        await configure(http, node, upstream)
        process = psutil.Process(node.pid)

        async def is_stopped() -> bool:
            return process.status() == psutil.STATUS_STOPPED

        node.pause()
        await until(is_stopped)
        node.resume()
        await serves(http, node)
        node.pause()
        await node.stop()
        assert not node.is_running


async def test_ports_stay_reserved_while_a_node_is_away(database_url: str) -> None:
    async with LabCluster(database_url=database_url) as cluster:
        node = cluster.add_node()
        with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", node.settings.proxy_port))


async def test_settings_are_the_clusters_and_on_top_the_nodes_own(database_url: str) -> None:
    async with LabCluster(database_url=database_url, strategy="poll", poll_interval_s=9) as cluster:
        plain, own = cluster.add_node(), cluster.add_node("mine", poll_interval_s=0.5)
    assert (plain.name, plain.settings.strategy, plain.settings.poll_interval_s) == (
        "node-1",
        "poll",
        9,
    )
    assert (own.name, own.settings.strategy, own.settings.poll_interval_s) == ("mine", "poll", 0.5)


async def test_a_node_has_the_listeners_of_its_role(database_url: str) -> None:
    async with LabCluster(database_url=database_url) as cluster:
        control_plane = cluster.add_node(role="control-plane")
        data_plane = cluster.add_node(role="data-plane")
    assert set(control_plane.addresses) == {"admin", "status", "cluster"}
    assert set(data_plane.addresses) == {"proxy", "status"}
    assert not data_plane.settings.database_url.get_secret_value()
    with pytest.raises(LabError, match="node-2 is a data-plane: it has no admin listener"):
        data_plane.url("admin")


async def test_a_node_that_cannot_start_says_why(database_url: str) -> None:
    async with LabCluster(database_url=database_url) as cluster:
        node = cluster.add_node(database_url="postgresql://nobody@127.0.0.1:1/gateway")
        with pytest.raises(LabError, match=r"ended with exit code 1: .*--database-url.* \(see"):
            await node.start()


SCENE = """
import asyncio
from gateway.lab.cluster import LabCluster

async def scene():
    async with LabCluster() as cluster:
        running, paused = await cluster.start_nodes(2)
        paused.pause()
        print("standing", flush=True)
        await asyncio.sleep(600)

asyncio.run(scene())
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Outside pytest's folder: PostgreSQL, when root starts it, runs as a user of its own."""
    path = Path(tempfile.mkdtemp(prefix="gateway-lab-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def test_a_lab_that_is_killed_takes_its_processes_with_it(scratch: Path) -> None:
    environment = os.environ | {"TMPDIR": str(scratch)}
    command = [sys.executable, "-c", SCENE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as lab:
        assert lab.stdout.readline() == b"standing\n"
        processes = psutil.Process(lab.pid).children(recursive=True)
        assert len(processes) > 3
        lab.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert not alive

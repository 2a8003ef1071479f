"""A node in this process: what it brings up, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import psutil
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.listener import ListenError
from gateway.node import Node, StartError
from gateway.settings import NodeSettings, SettingError
from gateway.status.facts import ConnectionCounts
from gateway.store.store import Store
from gateway.sync.registry import StrategyError
from tests.proxy.certificates import any_server
from tests.scenarios.nodes import DEADLINE_S, until

GET = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def running(settings: NodeSettings) -> AsyncIterator[Node]:
    node = Node(settings)
    try:
        await node.start()
        yield node
    finally:
        await node.stop()


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = address.rsplit(":", 1)
    return await asyncio.open_connection(host, port)


async def get(address: str, path: str) -> str:
    """Return the status line of an answer."""
    reader, writer = await connect(address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.decode().splitlines()[0]


def open_sockets() -> set[int]:
    return {connection.fd for connection in psutil.Process().net_connections("all")}


async def test_it_listens_joins_the_cluster_and_leaves_nothing_behind(
    settings: NodeSettings, store: Store
) -> None:
    async def seen() -> list[UUID]:
        return [row.id for row in (await store.cluster()).nodes]

    assert await seen() == []
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    async with running(settings) as node:
        identity = node.identity
        assert await get(identity.proxy_address, "/") == "HTTP/1.1 404 Not Found"
        assert await get(identity.admin_address, "/services") == "HTTP/1.1 200 OK"
        assert await get(identity.status_address, "/status/ready") == "HTTP/1.1 200 OK"
        assert await until(seen) == [identity.id]
    assert asyncio.all_tasks() == tasks
    assert open_sockets() == sockets
    assert await seen() == []


async def test_what_has_begun_of_a_failed_start_is_taken_back(settings: NodeSettings) -> None:
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port} of the status listener is taken"):
            async with running(settings.model_copy(update={"status_port": port})):
                pass
    nowhere = SecretStr("postgresql://127.0.0.1:1/nowhere")
    with pytest.raises(StartError, match="GATEWAY_DATABASE_URL"):
        async with running(settings.model_copy(update={"database_url": nowhere})):
            pass
    with pytest.raises(StrategyError):
        Node(settings.model_copy(update={"strategy": "gossip"}))
    assert asyncio.all_tasks() == tasks
    assert open_sockets() == sockets


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_well(settings: NodeSettings, signal_number: int) -> None:
    async with running(settings) as node:
        serving = asyncio.create_task(node.serve())
        os.kill(os.getpid(), signal_number)
        assert await asyncio.wait_for(serving, DEADLINE_S) == 0


async def test_it_serves_on_while_balancers_notice_and_a_second_signal_ends_that(
    settings: NodeSettings,
) -> None:
    async with running(settings.model_copy(update={"drain_delay_s": 3600.0})) as node:
        serving = asyncio.create_task(node.serve())
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(serving, DEADLINE_S) == 0
        stopping = asyncio.create_task(node.stop())

        async def is_draining() -> bool:
            return (await get(node.identity.status_address, "/status/ready")).endswith(
                "503 Service Unavailable"
            )

        await until(is_draining)
        reader, writer = await connect(node.identity.proxy_address)
        writer.write(GET)
        assert b"\r\nConnection: close\r\n" in await reader.read()
        writer.close()
        assert not stopping.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopping, DEADLINE_S)


@pytest.mark.parametrize("part", ["sync", "heartbeat", "listener-admin"])
async def test_a_part_that_ends_by_itself_ends_it_with_an_error(
    settings: NodeSettings, part: str
) -> None:
    async with running(settings) as node:
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == part)
        serving = asyncio.create_task(node.serve())
        with capture_logs() as logs:
            task.cancel()
            assert await asyncio.wait_for(serving, DEADLINE_S) == 1
    assert part in [log.get("part") for log in logs]


async def test_it_knows_what_its_clients_are_doing(settings: NodeSettings) -> None:
    async with running(settings) as node:

        async def all_have_come() -> bool:
            return node.connections().active == 3 and node.connections().reading == 1

        async def all_have_gone() -> bool:
            return not node.connections().active

        streams = [await connect(node.identity.proxy_address) for _ in range(3)]
        (reader, has_an_answer), (_, in_a_head), _ = streams
        has_an_answer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        in_a_head.write(GET[:-2])
        await until(all_have_come)
        assert node.connections() == ConnectionCounts(
            accepted=3, handled=3, active=3, reading=1, writing=0, waiting=2, total_requests=1
        )
        for _, writer in streams:
            writer.close()
        await until(all_have_gone)


async def test_it_serves_tls_beside_plain_http(settings: NodeSettings) -> None:
    settings = settings.model_copy(update={"proxy_tls_port": 0})
    async with running(settings) as node:

        async def both_have_gone() -> bool:
            return not node.connections().active

        plain = await connect(node.identity.proxy_address)
        host, port = node._address("proxy_tls").rsplit(":", 1)
        secured = await asyncio.open_connection(host, port, ssl=any_server(), server_hostname="")
        for reader, writer in (plain, secured):
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 404 ")
        assert node.connections() == ConnectionCounts(
            accepted=2, handled=2, active=2, reading=0, writing=0, waiting=2, total_requests=2
        )
        for _, writer in (plain, secured):
            writer.close()
            await writer.wait_closed()
        await until(both_have_gone)


async def test_a_certificate_of_no_use_is_found_before_anything_starts(
    settings: NodeSettings,
) -> None:
    update = {"proxy_tls_port": 0, "proxy_tls_cert": "/nowhere", "proxy_tls_cert_key": "/nowhere"}
    with pytest.raises(SettingError, match=r"GATEWAY_PROXY_TLS_CERT.*: /nowhere cannot be read"):
        Node(settings.model_copy(update=update))

"""A node is asked to stop while it is busy: it finishes what it has begun, and leaves no trace."""

from __future__ import annotations

import asyncio
import signal

import httpx
import psutil
import pytest

from gateway.lab.fault_proxy import FaultProxy
from gateway.store.embedded import EmbeddedPostgres

from .conftest import StartNodes
from .nodes import NodeProcess, http_client, until
from .upstream import Upstream


async def serve_orders(node: NodeProcess, upstream: Upstream) -> None:
    await node.write("PUT", "/services/orders", {"url": upstream.url})
    route = {"paths": ["/orders"]}
    await node.reaches(await node.write("PUT", "/services/orders/routes/orders", route))


async def are_waiting(upstream: Upstream, number: int) -> None:
    """Wait until so many requests have reached the upstream and wait for their answers."""

    async def all_there() -> bool:
        return upstream.waiting == number

    await until(all_there)


async def refuses_connections(node: NodeProcess) -> None:
    async def is_refused() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", node.port("proxy"))
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    await until(is_refused)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_under_way_are_finished(
    start_nodes: StartNodes, upstream: Upstream, signal_number: signal.Signals
) -> None:
    leaving, staying = await start_nodes(2)
    await serve_orders(leaving, upstream)
    assert (await leaving.proxy("/orders")).is_success  # a kept-alive connection
    upstream.may_answer.clear()
    requests = [asyncio.create_task(leaving.proxy("/orders", "POST")) for _ in range(5)]
    await are_waiting(upstream, 5)

    leaving.process.send_signal(signal_number)
    await leaving.logged("node is stopping")
    await refuses_connections(leaving)
    assert leaving.is_running
    assert await leaving.ready() == 503
    upstream.may_answer.set()
    for response in await asyncio.gather(*requests):
        assert (response.status_code, response.text) == (200, "/")
        assert response.headers["Connection"] == "close"
    assert await leaving.ends() == 0
    assert list(await staying.cluster()) == [staying.name]


async def test_a_long_response_is_sent_to_its_end(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    (node,) = await start_nodes(1)
    body = b"x" * 200_000
    sent = asyncio.Event()

    async def answer_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await sent.wait()
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer_slowly, "127.0.0.1", 0) as slow:
        upstream.port = slow.sockets[0].getsockname()[1]
        await serve_orders(node, upstream)
        async with (
            http_client() as client,
            client.stream("GET", f"http://{node.addresses['proxy']}/orders") as response,
        ):
            pieces = response.aiter_raw()
            assert await anext(pieces) == b"first"
            node.process.send_signal(signal.SIGTERM)
            await refuses_connections(node)
            sent.set()
            assert b"".join([piece async for piece in pieces]) == body
        assert await node.ends() == 0


async def test_what_takes_too_long_is_cut_and_nothing_is_left(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    (node,) = await start_nodes(1, shutdown_timeout_s=0.2)
    await serve_orders(node, upstream)
    upstream.may_answer.clear()
    request = asyncio.create_task(node.proxy("/orders", "POST"))
    await are_waiting(upstream, 1)
    of_the_node = psutil.Process(node.process.pid)
    below = of_the_node.children(recursive=True)
    assert await node.stop() == 0
    with pytest.raises(httpx.TransportError):
        await request
    assert not any(process.is_running() for process in [of_the_node, *below])


# -- one proxy port for all nodes


async def test_a_node_that_cannot_serve_yet_takes_no_clients_from_the_others(
    start_nodes: StartNodes,
    upstream: Upstream,
    shared_port: int,
    postgres: EmbeddedPostgres,
    database_url: str,
) -> None:
    shared = {"proxy_port": shared_port, "shared_proxy_port": True}
    (serving,) = await start_nodes(1, **shared)
    await serve_orders(serving, upstream)
    async with FaultProxy.before(postgres) as network, http_client() as http:
        network.stall()
        url = network.url(database_url)
        waiting = await NodeProcess("waiting", http, database_url=url, **shared).begin()
        await network.has_stalled()
        for _ in range(50):
            headers = {"Connection": "close"}
            response = await http.get(f"http://127.0.0.1:{shared_port}/orders", headers=headers)
            assert response.status_code == 200
        assert await waiting.stop() == -signal.SIGTERM  # at once: it had nothing to finish
    assert await handled(serving) == 50


async def handled(node: NodeProcess) -> int:
    return int((await node.report())["server"]["total_requests"])

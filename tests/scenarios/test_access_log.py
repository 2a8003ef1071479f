"""The access log of a real node: a rotation loses no line, and a full disk harms no request."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from .conftest import StartNodes
from .nodes import NodeProcess, until
from .traffic import SteadyTraffic
from .upstream import Upstream


async def serve_orders(node: NodeProcess, upstream: Upstream) -> str:
    """Have everything below `/orders` sent to the upstream; return that URL."""
    await node.write("PUT", "/services/orders", {"url": upstream.url})
    route = {"paths": ["/orders"]}
    await node.reaches(await node.write("PUT", "/services/orders/routes/orders", route))
    return f"http://{node.addresses['proxy']}/orders"


async def test_a_rotation_under_traffic_loses_no_line(
    start_nodes: StartNodes, upstream: Upstream, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    (node,) = await start_nodes(1, access_log="json", access_log_path=path)
    urls = [f"{await serve_orders(node, upstream)}/{number}" for number in range(4)]
    async with SteadyTraffic.to(*urls) as traffic:
        for number in range(3):
            await traffic.goes_on()
            path.rename(f"{path}.{number}")
            node.process.send_signal(signal.SIGHUP)

            async def is_there() -> bool:
                return path.exists()

            await until(is_there)
        await traffic.goes_on()
    assert traffic.failures == []
    assert await node.stop() == 0  # which writes what waits
    files = [*(Path(f"{path}.{number}") for number in range(3)), path]
    lines = [file.read_text().splitlines() for file in files]
    assert all(lines)
    records = [json.loads(line) for of_file in lines for line in of_file]
    answered = sum(answers.total() for answers in traffic.answers.values())
    assert len({record["request"]["id"] for record in records}) == len(records) == answered
    assert {record["response"]["status"] for record in records} == {200}


async def test_a_full_disk_harms_no_request(start_nodes: StartNodes, upstream: Upstream) -> None:
    settings = {"access_log": "text", "access_log_path": "/dev/full"}
    (node,) = await start_nodes(1, access_log_buffer_bytes=65_536, **settings)
    url = await serve_orders(node, upstream)

    async def drops_lines() -> bool:
        metrics = await node.metrics()
        return metrics.value("gateway_access_log_lines_total", outcome="dropped") > 0

    async with SteadyTraffic.to(*[f"{url}/{'x' * 2000}"] * 4) as traffic:
        reported = await node.logged("access log cannot be written")
        assert (reported["path"], reported["reason"]) == ("/dev/full", "No space left on device")
        await until(drops_lines)
        await traffic.goes_on()
    assert traffic.failures == []
    assert {status for answers in traffic.answers.values() for status, _ in answers} == {200}
    assert (await node.metrics()).value("gateway_access_log_failures_total") > 0
    assert await node.stop() == 0

"""Other clients: a bounded load on all proxies while changes are measured.

`python -m gateway.lab.staleness.load PATH CONNECTIONS HOST:PORT…` asks every proxy for the path, on
so many connections each, one request after the other; it is an upstream, too, and says its URL when
it has begun. It is a process of its own so that its work does not delay the probes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from gateway.lab.staleness.changes import Lane
from gateway.lab.staleness.target import Target
from gateway.lab.staleness.wire import Connection, Origin, WireError
from gateway.lab.staleness.writer import Writer
from gateway.lab.tasks import task_group
from gateway.lab.upstream import EchoUpstream
from gateway.up.process import Child

CLIENT_PAUSE_S = 0.1
"""After an error, so that a proxy that is away is not asked without end."""

STOP_TIMEOUT_S = 2.0
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def load_on(target: Target, run: str, connections: int) -> AsyncIterator[None]:
    """Keep clients busy at all probed proxies for the length of the block.

    Raises `LabError`, `StartError`.
    """
    path = Lane(run, "load", "").probe_path
    with tempfile.TemporaryDirectory(prefix="gateway-load-") as directory:
        child = Child(
            "load",
            [
                "gateway.lab.staleness.load",
                path,
                str(connections),
                *map(str, target.probed.values()),
            ],
            os.environ,
            Path(directory) / "load.log",
            _log.warning,
            announces=True,
        )
        try:
            own_upstream_url = await child.start()
            lane = Lane(run, "load", target.load_upstream_url or own_upstream_url)
            with Connection(target.admin) as connection:
                writer = Writer(connection)
                try:
                    await writer.write(lane.put_service())
                    await writer.write(next(lane.changes()).write)
                    yield
                finally:
                    await writer.remove(lane.removal())
        finally:
            await child.stop(STOP_TIMEOUT_S)


async def _serve(path: str, connections: int, origins: Sequence[Origin]) -> None:
    async with EchoUpstream() as upstream, task_group() as tasks:
        print(upstream.url, flush=True)  # noqa: T201 - the announcement that the lab waits for
        for origin in origins:
            for number in range(connections):
                tasks.create_task(_client(origin, path), name=f"client-{number}-of-{origin}")


async def _client(origin: Origin, path: str) -> None:
    with Connection(origin) as connection:
        while True:
            try:
                await connection.request("GET", path)
            except WireError:
                await asyncio.sleep(CLIENT_PAUSE_S)


def main() -> None:
    """Load until ended."""
    path, connections, *urls = sys.argv[1:]
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(_serve(path, int(connections), [Origin.of(url) for url in urls]))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    main()

"""How long the Admin API takes: `python -m benchmarks.admin` prints a table in Markdown.

Three nodes share one core; their PostgreSQL and the clients share the other. All requests go to the
first node, on connections that stay open, one request at a time on each. PostgreSQL writes to the
disk as in production.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any, ClassVar
from uuid import UUID, uuid5

import httpx
import psycopg
import uvloop

from benchmarks.processes import Pinned, free_port
from gateway.store import migrate
from gateway.store.embedded import EmbeddedPostgres

NODES = 3
ROUTES = (100, 10_000)
CLIENTS = (1, 10)
WARM_UP = 20
"""Requests of each kind, and of each client, that are not counted."""

NAMESPACE = UUID(int=0)

_FILL = """
    INSERT INTO routes (id, name, paths, service_id)
    SELECT given.id, 'r-' || n, ARRAY['/r/' || n], services.id
    FROM unnest(%s::uuid[]) WITH ORDINALITY AS given (id, n), services
    ON CONFLICT DO NOTHING
"""

# -- what is asked

Message = tuple[str, str, Any]
"""Method, path and body."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request. ``message`` makes the nth of them, where there are so many routes."""

    title: str
    message: Callable[[int, int], Message]


def _id(name: str, n: int) -> UUID:
    return uuid5(NAMESPACE, f"{name}-{n}")


def _some_route(n: int, routes: int) -> str:
    return f"/routes/{_id('r', n % routes)}"


def _new_route(name: str, n: int) -> dict[str, Any]:
    return {"name": f"{name}-{n}", "paths": [f"/{name}/{n}"], "service": {"name": "plain"}}


KINDS = (
    Kind("GET, one route", lambda n, routes: ("GET", _some_route(n, routes), None)),
    Kind("GET, a page of 100", lambda _, __: ("GET", "/routes?size=100", None)),
    Kind("POST", lambda n, _: ("POST", "/routes", _new_route("posted", n))),
    Kind("PATCH", lambda n, routes: ("PATCH", _some_route(n, routes), {"tags": [f"a{n}"]})),
    Kind("PUT, a new one", lambda n, _: ("PUT", f"/routes/{_id('put', n)}", _new_route("put", n))),
    Kind("DELETE, of those", lambda n, _: ("DELETE", f"/routes/{_id('put', n)}", None)),
    Kind(
        "PATCH, wait=cluster",
        lambda n, routes: ("PATCH", f"{_some_route(n, routes)}?wait=cluster", {"tags": [f"b{n}"]}),
    ),
)


def _encoded(message: Message) -> bytes:
    method, path, body = message
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


# -- how it is measured


@dataclass(frozen=True, slots=True)
class Result:
    """What one kind of request took."""

    title: str
    routes: int
    clients: int
    p50_ms: float
    p99_ms: float
    requests_per_s: float

    HEADINGS: ClassVar = ("request", "routes", "clients", "p50 ms", "p99 ms", "requests/s")

    def cells(self) -> tuple[str, ...]:
        return (
            self.title,
            f"{self.routes:,}",
            str(self.clients),
            f"{self.p50_ms:.1f}",
            f"{self.p99_ms:.1f}",
            f"{self.requests_per_s:,.0f}",
        )


class Bench:
    """Measures the node at a port; each kind of request is numbered over all that is measured."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers: dict[str, Iterator[int]] = defaultdict(itertools.count)

    async def measure(self, kind: Kind, routes: int, clients: int, requests: int) -> Result:
        """Let so many clients send so many requests together."""
        connections = [
            await asyncio.open_connection("127.0.0.1", self._port) for _ in range(clients)
        ]
        each = partial(self._send, kind, routes)
        await asyncio.gather(*(each(connection, WARM_UP) for connection in connections))
        began = time.perf_counter()
        took = await asyncio.gather(
            *(each(connection, requests // clients) for connection in connections)
        )
        lasted_s = time.perf_counter() - began
        for _, writer in connections:
            writer.close()
        all_s = list(itertools.chain(*took))
        percentiles = quantiles(all_s, n=100)
        p50_ms, p99_ms = percentiles[49] * 1000, percentiles[98] * 1000
        return Result(kind.title, routes, clients, p50_ms, p99_ms, len(all_s) / lasted_s)

    async def _send(
        self, kind: Kind, routes: int, connection: Connection, requests: int
    ) -> list[float]:
        """Return how many seconds each request took, from its first byte to the answer's last."""
        took = []
        for n in itertools.islice(self._numbers[kind.title], requests):
            request = _encoded(kind.message(n, routes))
            began = time.perf_counter()
            await _exchange(*connection, request)
            took.append(time.perf_counter() - began)
        return took


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> None:
    """Send a request and take its answer. Raises RuntimeError if that is not what it should be."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    is_there = f"\r\nx-gateway-propagation: {NODES}/{NODES}\r\n".encode() in head
    if not head.startswith(b"HTTP/1.1 20") or (b"wait=cluster" in request and not is_there):
        raise RuntimeError(f"{request!r} was answered {head!r} {body!r}")


# -- what is measured


@contextmanager
def cluster(server_core: int) -> Iterator[tuple[int, str]]:
    """Run the nodes; give the port of the first one's Admin API, and the database's URL."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        home.chmod(0o711)
        postgres = EmbeddedPostgres(home / "postgres")
        stack.callback(postgres.stop)
        url = postgres.start()
        migrate.upgrade(url)
        ports = [free_port() for _ in range(NODES)]
        for port in ports:
            node = Pinned(
                f"node-{port}",
                server_core,
                [sys.executable, "-m", "gateway", "node"],
                home / f"{port}.log",
                _environment(url, port, home),
            )
            stack.callback(node.stop)
            node.wait_for_port(port)
        yield ports[0], url


def _environment(database_url: str, port: int, home: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    return inherited | {
        "GATEWAY_DATABASE_URL": database_url,
        "GATEWAY_NODE_NAME": f"node-{port}",
        "GATEWAY_PROXY_PORT": "0",
        "GATEWAY_ADMIN_PORT": str(port),
        "GATEWAY_STATUS_PORT": "0",
        "GATEWAY_SNAPSHOT_DIR": str(home),
        "GATEWAY_LOG_LEVEL": "warning",
    }


def fill(port: int, database_url: str, routes: int) -> None:
    """Have so many routes, and wait until all nodes serve them."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as admin:
        admin.put("/services/plain", json={"host": "a.test"}).raise_for_status()
        with psycopg.connect(database_url) as connection:
            connection.execute(_FILL, [[_id("r", n) for n in range(routes)]])
        answer = admin.put("/services/plain?wait=cluster&timeout=60s", json={"host": "a.test"})
        if answer.headers["X-Gateway-Propagation"] != f"{NODES}/{NODES}":
            raise RuntimeError(f"the routes are not there in time: {answer.headers}")


def main() -> None:
    """Measure everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="of each kind (default: 1000)")
    requests = parser.parse_args().requests
    server_core, load_core = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, {load_core})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is stopped
    print(f"| {' | '.join(Result.HEADINGS)} |\n|---|{'---:|' * (len(Result.HEADINGS) - 1)}")
    with cluster(server_core) as (port, database_url):
        bench = Bench(port)
        for routes, clients in itertools.product(ROUTES, CLIENTS):
            fill(port, database_url, routes)
            for kind in KINDS:
                result = uvloop.run(bench.measure(kind, routes, clients, requests))
                print(f"| {' | '.join(result.cells())} |", flush=True)


if __name__ == "__main__":
    main()

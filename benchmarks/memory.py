"""How much memory a server needs: for its routes, and for connections that wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from benchmarks.processes import Pinned
from benchmarks.stage import Stage

NAME, TITLE = "memory", "Memory"
IDLE_CONNECTIONS = 2_000
SETTLING_S = 3.0
"""After a change, until the snapshot before it is taken apart."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Resident memory, and how much of it an idle connection takes, if that was measured."""

    contender: str
    routes: str
    rss_mb: float
    connection_kb: float | None = None


def measure_memory(
    start: Callable[[], AbstractContextManager[Stage]], route_counts: Sequence[int]
) -> Iterator[Footprint]:
    """Yield the footprints of servers that have served nothing else yet."""
    with start() as stage:
        for contender in stage.pair():
            rss_mb = contender.server.rss_bytes() / 1e6
            connection_kb = _connection_kb(contender.server, contender.port)
            yield Footprint(contender.name, "one", rss_mb, connection_kb)
    with start() as stage:
        for count in route_counts:
            stage.gateway.fill(count)
            time.sleep(SETTLING_S)
            yield Footprint("gateway", f"{count:,}", stage.node.rss_bytes() / 1e6)


def _connection_kb(server: Pinned, port: int) -> float:
    before = server.rss_bytes()
    with ExitStack() as stack:
        for _ in range(IDLE_CONNECTIONS):
            _use(stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)))
        return (server.rss_bytes() - before) / IDLE_CONNECTIONS / 1e3


def _use(client: socket.socket) -> None:
    """Ask once, so that the connection has whatever an idle one keeps."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with client.makefile("rb") as answer:
        while answer.readline().strip():
            pass
        answer.read(100)

"""A whole proxy in this process, to which cases are played."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

from fuzz.case import Act, Deed, acts
from fuzz.still_loop import StillLoop
from fuzz.still_transport import StillTransport
from gateway.access_log.json_lines import JsonLines
from gateway.access_log.record import Record
from gateway.access_log.text_lines import TextLines
from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.downstream import DownstreamConnection
from gateway.proxy.proxy import Proxy
from gateway.settings import Compat, NodeSettings
from gateway.snapshot import SnapshotApplier
from tests.snapshot.rows import full_load, route, service

BUFFER_LIMIT_BYTES = 4096
HEAD_LIMIT_BYTES = 4096
_CLIENTS_LIMIT = 20
_PATIENCE_S = 120
_STEP_S = 3.0

_SETTINGS = {
    "buffer_limit_bytes": BUFFER_LIMIT_BYTES,
    "header_limit_bytes": HEAD_LIMIT_BYTES,
    "request_line_limit_bytes": 1024,
    "header_count_limit": 50,
    "body_limit_bytes": 100_000,
    "body_spool_limit_bytes": 50_000,
    "response_spool_limit_bytes": 16_384,
    "header_timeout_s": 1.0,
    "body_timeout_s": 1.0,
    "keepalive_timeout_s": 1.0,
    "keepalive_requests": 8,
    "upstream_keepalive_timeout_s": 1.0,
}
_PASSES_S = {Deed.TIME_PASSES: 0.3, Deed.DEADLINES_PASS: 1.5}
_OF_CLIENTS: dict[Deed, Callable[[StillTransport, bytes], None]] = {
    Deed.CLIENT_SAYS: StillTransport.say,
    Deed.CLIENT_ENDS: lambda client, _: client.end(),
    Deed.CLIENT_RESETS: lambda client, _: client.reset(),
    Deed.CLIENT_STALLS: lambda client, _: client.stall(),
    Deed.CLIENT_GOES_ON: lambda client, _: client.go_on(),
}
_OF_UPSTREAMS: dict[Deed, Callable[[StillTransport, bytes], None]] = {
    Deed.UPSTREAM_SAYS: StillTransport.say,
    Deed.UPSTREAM_ENDS: lambda upstream, _: upstream.end(),
    Deed.UPSTREAM_RESETS: lambda upstream, _: upstream.reset(),
    Deed.UPSTREAM_STALLS: lambda upstream, _: upstream.stall(),
    Deed.UPSTREAM_GOES_ON: lambda upstream, _: upstream.go_on(),
}
_TIMEOUTS = {"connect_timeout": 1000, "write_timeout": 1000, "read_timeout": 1000}


@dataclass
class Client:
    """A client, and the connection that it has to the proxy."""

    address: bytes
    transport: StillTransport
    connection: DownstreamConnection
    most_buffered_bytes: int = 0


@dataclass
class Story:
    """What came of a case."""

    clients: list[Client] = field(default_factory=list)
    upstreams: list[StillTransport] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # that the proxy has told of
    troubles: list[str] = field(default_factory=list)  # of any kind that must never be


class World:
    """The proxy, and whoever talks to it in the current case.

    Routes: /kept keeps bodies whole, /streamed passes them on, all else has no route but /none,
    which has no service.
    """

    def __init__(self) -> None:
        self.loop = StillLoop()
        self.loop.open_connection = self._open_upstream
        self.server_state = SimpleNamespace(connections=set())
        self._text_lines, self._json_lines = TextLines(Compat.NONE), JsonLines(Compat.NONE)
        self._story = Story()
        self._refusals = 0
        self.loop.run_until_complete(self._start())

    def play(self, case: bytes) -> Story:
        """Play a case, and then let every deadline pass."""
        story = self._story = Story()
        self._refusals = 0
        self.loop.errors.clear()
        self._add_client()
        for act in acts(case):
            self._do(act)
            self.loop.settle()
            self._look_into_buffers()
        self._wait_for_the_end()
        story.troubles += [_told(error) for error in self.loop.errors]
        return story

    def close(self) -> None:
        """End the proxy and the loop."""
        self.proxy.access_log = None
        self.loop.run_until_complete(self.proxy.stop())
        self.loop.close()

    async def _start(self) -> None:
        async def sync_now() -> None:
            return

        self.proxy = Proxy(
            NodeSettings(**_SETTINGS),  # type: ignore[arg-type]
            asyncio.get_running_loop(),
            TrafficMetrics(),
            sync_now=sync_now,
            stale_s=lambda: 0.0,
        )
        self.proxy.access_log = SimpleNamespace(note=self._note_record)  # type: ignore[assignment]
        self.proxy.failures = SimpleNamespace(note=self._note_failure)  # type: ignore[assignment]
        there = service(name="there", host="192.0.2.1", port=80, retries=1, **_TIMEOUTS)
        buffered = {"request_buffering": True, "response_buffering": True}
        streamed = {"request_buffering": False, "response_buffering": False}
        await SnapshotApplier(self.proxy.use).apply(
            full_load(
                {
                    "services": [there],
                    "routes": [
                        route(there, name="kept", paths=["/kept"], **buffered),
                        route(there, name="streamed", paths=["/streamed"], **streamed),
                        route(None, name="none", paths=["/none"]),
                    ],
                }
            )
        )
        self.proxy.wheel.start()

    # -- who is there

    def _add_client(self) -> None:
        if len(self._story.clients) == _CLIENTS_LIMIT:
            return
        address = f"198.51.100.{len(self._story.clients) + 1}"
        transport = StillTransport(self.loop, address)
        connection = DownstreamConnection(self.proxy, server_state=self.server_state)
        self._story.clients.append(Client(address.encode(), transport, connection))
        self.loop.call_soon(transport.start, connection)
        self.loop.settle()

    def _open_upstream(self, protocol: asyncio.Protocol) -> None:
        if self._refusals:
            self._refusals -= 1
            raise ConnectionRefusedError("refused")
        transport = StillTransport(self.loop, "192.0.2.1")
        self._story.upstreams.append(transport)
        transport.start(protocol)

    def _note_failure(self, event: str, reason: str, _peer: str) -> None:
        self._story.failures.append(f"{event}: {reason}")

    def _note_record(self, record: Record) -> None:
        """Take a record as the access log does, and look at its lines."""
        self._story.records.append(record)
        text, line = self._text_lines.line(record), self._json_lines.line(record)
        json.loads(line)
        for written in (text, line):
            if not written.endswith(b"\n") or any(byte < 0x20 for byte in written[:-1]):
                self._story.troubles.append(f"not one line of text in the access log: {written!r}")

    # -- what happens

    def _do(self, act: Act) -> None:
        deed = act.deed
        if deed in _OF_CLIENTS:
            _OF_CLIENTS[deed](self._story.clients[-1].transport, act.words)
        elif deed in _OF_UPSTREAMS:
            for upstream in self._open_upstreams()[-1:]:  # the one that was asked last
                _OF_UPSTREAMS[deed](upstream, act.words)
        elif deed is Deed.NEXT_CLIENT:
            self._add_client()
        elif deed is Deed.UPSTREAM_REFUSES:
            self._refusals += 1
        else:
            self.loop.pass_time(_PASSES_S[deed])

    def _open_upstreams(self) -> list[StillTransport]:
        return [upstream for upstream in self._story.upstreams if not upstream.is_over]

    def _look_into_buffers(self) -> None:
        for client in self._story.clients:
            buffered_bytes = len(client.connection._buffer)  # nobody else tells
            client.most_buffered_bytes = max(client.most_buffered_bytes, buffered_bytes)

    def _wait_for_the_end(self) -> None:
        """Let time pass until nothing is left, or long enough that something is stuck."""
        waited_s = 0.0
        while waited_s < _PATIENCE_S and not self._is_idle():
            self.loop.pass_time(_STEP_S)
            waited_s += _STEP_S
        if not self._is_idle():
            self._story.troubles.append(f"not over after {_PATIENCE_S} s: {self._what_is_left()}")
            for transport in self._transports():
                transport.abort()
            self.loop.pass_time(_STEP_S)

    def _is_idle(self) -> bool:
        return not self._what_is_left()

    def _what_is_left(self) -> str:
        left = {
            "client connections": len(self.server_state.connections),
            "upstream connections": sum(not found.is_over for found in self._story.upstreams),
            "pools": len(self.proxy.pools._pools),  # nobody else tells
            "bytes on disk": self.proxy.spool_room.used_bytes,
        }
        return ", ".join(f"{number} {what}" for what, number in left.items() if number)

    def _transports(self) -> list[StillTransport]:
        return [*(client.transport for client in self._story.clients), *self._story.upstreams]


def _told(error: dict[str, object]) -> str:
    exception = error.get("exception")
    if isinstance(exception, BaseException):
        return "".join(traceback.format_exception(exception))
    return str(error.get("message"))

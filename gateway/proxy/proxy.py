"""What all connections of a node's proxy share: settings, pools, counters, the current snapshot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from os import urandom

from gateway.access_log import AccessLog, unread_request
from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy import errors
from gateway.proxy.added_lines import AddedLines
from gateway.proxy.admission import Admission
from gateway.proxy.client import Client
from gateway.proxy.deadlines import DeadlineWheel
from gateway.proxy.debug_lines import DebugLines
from gateway.proxy.destinations import Destinations
from gateway.proxy.failures import FailureLog
from gateway.proxy.forwarding import Forwarding
from gateway.proxy.freshness import Freshness
from gateway.proxy.health.checker import HealthChecker
from gateway.proxy.health.view import HealthView
from gateway.proxy.http1 import HeadLimits
from gateway.proxy.names import wire_names
from gateway.proxy.plugin_failures import PluginFailures
from gateway.proxy.pool import UpstreamPools
from gateway.proxy.resolution import RouteTable, Sightings
from gateway.proxy.resolver import Resolver
from gateway.proxy.spool import SpoolRoom
from gateway.proxy.tls import TlsTermination
from gateway.proxy.upstream_tls import UpstreamTls
from gateway.settings import Compat, NodeSettings
from gateway.snapshot import Snapshot
from gateway.snapshot.heap import RequestHeap


class RequestIds:
    """Random request ids of 32 hex digits, drawn in bulk: a third of the cost of one at a time."""

    __slots__ = ("_digits", "_position")

    def __init__(self) -> None:
        self._digits = b""
        self._position = 0

    def next(self) -> bytes:
        """Return an id that no other request has."""
        position = self._position
        if position == len(self._digits):
            self._digits = urandom(16 * 256).hex().encode()
            position = 0
        self._position = position + 32
        return self._digits[position : position + 32]


class ProxyCounts:
    """Client connections and requests since the node started."""

    __slots__ = ("accepted", "handled", "total_requests")

    def __init__(self) -> None:
        self.accepted = 0
        self.handled = 0
        self.total_requests = 0


class Proxy:
    """The data plane of one node. ``table`` is replaced, in one assignment, at each apply.

    ``keeps_heads``: the heads of responses are kept, for those who log.
    ``sync_now`` brings the snapshot up to date, ``stale_s`` tells for how long it may not be.
    Raises SettingError for files of certificates that are of no use.
    """

    def __init__(
        self,
        settings: NodeSettings,
        loop: asyncio.AbstractEventLoop,
        traffic: TrafficMetrics,
        *,
        sync_now: Callable[[], Awaitable[None]],
        stale_s: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.loop = loop
        self.traffic = traffic
        self.error_bodies = errors.ErrorBodies(settings)
        self.failures = FailureLog()
        self.plugin_failures = PluginFailures(settings.plugin_timeout_s)
        self.counts = ProxyCounts()
        self.request_ids = RequestIds()
        self.draining = False
        self.idle_timeout_s = settings.keepalive_timeout_s
        self.buffer_limit_bytes = settings.buffer_limit_bytes
        self.charset_suffix = _charset_suffix(settings)
        self.head_limits = HeadLimits(
            line_bytes=settings.request_line_limit_bytes,
            head_bytes=settings.header_limit_bytes,
            header_count=settings.header_count_limit,
        )
        self.spool_room = SpoolRoom(settings.body_spool_dir, settings.body_spool_limit_bytes)
        self.wheel = DeadlineWheel(loop)
        self.resolver = Resolver(settings)
        self.upstream_tls = UpstreamTls(settings, self.failures)
        self._health_checker = self._make_health_checker()
        self._heap = RequestHeap()
        self.destinations = Destinations(self.resolver, loop, self._health_checker, self._heap)
        self.health = HealthView(self.destinations)
        self.pools = UpstreamPools(
            settings,
            wheel=self.wheel,
            tls=self.upstream_tls,
            limits=self.head_limits,
        )
        self._sightings = Sightings()
        self.access_log = AccessLog.of(settings)
        self.table = self._table_of(Snapshot.empty())
        self.keeps_heads = self.access_log is not None
        self.tls = self._make_tls_termination()
        self.freshness = Freshness(settings, traffic, self._version, sync_now, stale_s)
        self._name_lines()
        self.admission = Admission(settings, self.counts, traffic, self.failures)
        self.forwarding = Forwarding(settings, self.names.server)
        self.inspects_all = self.freshness.refuses_stale or self.forwarding.reads_ordinary
        self._date_second = 0
        self._date_line = b""

    def _name_lines(self) -> None:
        """Prepare the header lines that are the same for every message.

        ``tells_more``: responses carry more than the templates of ``added_lines`` have a place for.
        """
        names = self.names = wire_names(self.settings.compat)
        self.added_lines = AddedLines(self.settings, names)
        allow_debug = self.settings.allow_debug_header
        self.debug_lines = DebugLines(self.settings.compat) if allow_debug else None
        self.tells_more = allow_debug or not self.added_lines.suffice

    def _make_tls_termination(self) -> TlsTermination | None:
        """Return what the TLS listener needs, if there is one."""
        if "proxy_tls" not in self.settings.listener_names():
            return None
        return TlsTermination(self.settings, lambda: self.table.snapshot, self.failures)

    def _make_health_checker(self) -> HealthChecker:
        limit = self.settings.health_probes_limit
        return HealthChecker(limit, self.wheel, self.upstream_tls, lambda: self.table.snapshot)

    def start(self) -> None:
        """Begin to watch deadlines and to write the access log."""
        self.wheel.start()
        if self.access_log is not None:
            self.access_log.start()

    async def stop(self) -> None:
        """Close the upstream side and the log. The listener has closed the clients' side before."""
        await self.freshness.stop()
        await self._health_checker.stop()
        await self.pools.stop()
        await self.upstream_tls.stop()
        await self.resolver.stop()
        await self.spool_room.stop()
        self.wheel.stop()
        if self.access_log is not None:
            await self.access_log.stop()

    def announce_end(self) -> None:
        """Let responses tell clients that there is no next one on their connection."""
        self.draining = True

    def await_last_requests(self) -> None:
        """Let idle connections wait for a last request only so long."""
        self.idle_timeout_s = min(self.idle_timeout_s, self.settings.drain_idle_s)

    def use(self, snapshot: Snapshot) -> None:
        """Serve from ``snapshot`` from the next request on."""
        outdated, self.table = self.table, self._table_of(snapshot)
        self.keeps_heads = self.access_log is not None or self.table.logs
        self.destinations.use(snapshot)
        outdated.snapshot = Snapshot.empty()  # nobody looks anything up there any more
        self.freshness.note_apply()
        self._empty(outdated)

    def _table_of(self, snapshot: Snapshot) -> RouteTable:
        flavor = self.settings.router_flavor
        return RouteTable(
            snapshot,
            self.traffic,
            self.upstream_tls,
            flavor,
            destinations=self.destinations,
            heap=self._heap,
            sightings=self._sightings,
        )

    def _version(self) -> int:
        mark = self.table.snapshot.mark
        return 0 if mark is None else mark.version

    def _empty(self, table: RouteTable) -> None:
        if table.forget_some():
            self.loop.call_soon(self._empty, table)

    def date_line(self) -> bytes:
        """Return the Date header line of this second."""
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self._date_line = b"\r\nDate: " + formatdate(second, usegmt=True).encode()
        return self._date_line

    def refusal(self, status: int, client: Client, received: bytes) -> bytes:
        """Return the whole answer to a request that could not be read; ``received`` came of it."""
        request_id = self.request_ids.next()
        content_type, body = self.error_bodies.refusal(status, request_id.decode())
        status = self.error_bodies.as_sent(status)
        self.traffic.refused[status] = self.traffic.refused.get(status, 0) + 1
        head = b"".join(
            (
                b"HTTP/1.1 " + errors.status_text(status),
                self.date_line(),
                b"\r\nContent-Type: " + content_type.encode(),
                b"\r\nContent-Length: %d" % len(body),
                self.added_lines.server,
                self.added_lines.unproxied % (0, request_id),
                b"\r\nConnection: close\r\n\r\n",
            )
        )
        if received.startswith(b"HEAD "):
            body = b""
        if self.access_log is not None:
            sent = (head, body)
            self.access_log.note(unread_request(client.address, request_id, status, sent, received))
        return head + body


def _charset_suffix(settings: NodeSettings) -> bytes:
    """Return what is appended to the type of texts that name no charset (proxying.md section 3)."""
    charset = settings.response_charset
    if charset == "auto":
        charset = "UTF-8" if settings.compat is Compat.KONG else "off"
    return b"" if charset == "off" else b"; charset=" + charset.encode()

"""What is known of an exchange, and what counters and the access log are told of it in the end."""

from __future__ import annotations

import asyncio
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.access_log import Record, Try
from gateway.balancing import Endpoint, Listener, MadeUpCookie
from gateway.metrics.traffic import RouteTraffic
from gateway.plugins.outcome import Outcome
from gateway.proxy.backlog import Backlog
from gateway.proxy.client_side import Downstream
from gateway.proxy.http1 import CHUNKED, RequestHead, ResponseHead
from gateway.proxy.request_body import RequestBody
from gateway.proxy.request_target import RequestTarget
from gateway.proxy.resolution import Resolution, host_without_port
from gateway.proxy.upstream import UpstreamConnection

if TYPE_CHECKING:
    from gateway.plugins.reply import Reply
    from gateway.plugins.request import Connection
    from gateway.proxy.plugin_run import PluginRun
    from gateway.proxy.proxy import Proxy
    from gateway.routing import Captures
    from gateway.snapshot import Route, Service


class FailedTry(NamedTuple):
    """A try that came to nothing: its endpoint, when that was chosen, and its status.

    ``chosen_at`` is a reading of ``perf_counter``.
    """

    endpoint: Endpoint
    chosen_at: float
    status: int


class ExchangeFacts:
    """The facts of a request and its response, as they become known."""

    __slots__ = (
        "_backlog",
        "_body",
        "_body_asked",
        "_body_limit",
        "_chosen_at",
        "_cookie",
        "_downstream",
        "_endpoint",
        "_extra_try_used",
        "_failed",
        "_failures",
        "_from_upstream",
        "_head_at",
        "_host_header",
        "_listener",
        "_over",
        "_proxy",
        "_resolution",
        "_run",
        "_service",
        "_started_at",
        "_traffic",
        "_tries",
        "client",
        "egress_bytes",
        "head",
        "host",
        "ingress_bytes",
        "method",
        "path",
        "query",
        "request_id",
        "request_sent",
        "response_head",
        "response_trailers",
        "sent_method",
        "status",
        "upstream",
    )

    _resolution: Resolution  # once a route was found
    _service: Service  # once it is clear that the route has one
    _endpoint: Endpoint  # once one was picked, like the next
    _host_header: bytes
    response_head: ResponseHead  # once one has come

    def __init__(
        self,
        proxy: Proxy,
        downstream: Downstream,
        head: RequestHead,
        target: RequestTarget,
    ) -> None:
        self._started_at = perf_counter()
        self._proxy = proxy
        self._downstream = downstream
        self.client = downstream.client
        self.head = head
        self.method = self.sent_method = head.method  # the one that goes upstream may be another
        self.host, self.path, self.query = target
        self.request_id = proxy.request_ids.next()
        self.request_sent = True  # but for a body, see `_send`
        self.ingress_bytes = head.size
        self.egress_bytes = 0
        self.status = 0
        self.response_trailers = b""
        self._traffic: RouteTraffic | None = None
        self.upstream: UpstreamConnection | None = None
        self._chosen_at = 0.0
        self._head_at = 0.0
        self._tries = 0
        self._extra_try_used = False
        self._failed: tuple[Endpoint, ...] = ()
        self._failures: tuple[FailedTry, ...] = ()
        self._body: RequestBody | None = None  # once it is asked for
        self._body_asked: asyncio.Future[None] | None = None  # once a plugin wants to see it
        self._body_limit: tuple[int, Reply] | None = None  # where a plugin sets one
        self._backlog: Backlog | None = None  # while the client takes less than has come
        self._cookie: MadeUpCookie | None = None  # where requests are hashed by one
        self._listener: Listener | None = None  # while somebody wants to know how the try ends
        self._run: PluginRun | None = None  # where the route has plugins
        self._from_upstream = False
        self._over = False

    @property
    def responding(self) -> bool:
        """Whether a response head has gone out."""
        return self._head_at != 0

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the response any more."""
        return self._over

    # -- what plugins ask for

    @property
    def client_address(self) -> bytes:
        """Who asks, after what trusted proxies say."""
        return self.client.address

    @property
    def connection(self) -> Connection:
        """What the request came by."""
        return self._downstream.connection

    @property
    def client_lines(self) -> bytes:
        """All header lines of the client, each led by CRLF."""
        return self.head.fields.block

    @property
    def passing_lines(self) -> bytes:
        """Those of them that pass on unchanged."""
        return self.head.fields.rest

    @property
    def memory(self) -> dict[object, Any]:
        """What plugins concluded from these lines."""
        return self.head.fields.memory

    @property
    def version(self) -> bytes:
        """The version of HTTP, as the request line has it."""
        return b"HTTP/1." + self.head.fields.minor

    @property
    def is_https(self) -> bool:
        """Whether the request came over TLS, after what trusted proxies say."""
        forwarding, peer = self._proxy.forwarding, self._downstream.peer
        return forwarding.is_https(self.client, peer, self.head.fields.special)

    @property
    def route(self) -> Route | None:
        """The route that was chosen; None if there is none."""
        return None if self._traffic is None else self._resolution.route

    @property
    def service(self) -> Service | None:
        """The route's service, if it has one."""
        return None if self._traffic is None else self._resolution.service

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head of the request."""
        return self.head.fields.body_length != 0

    @property
    def body_length(self) -> int | None:
        """How long the body is said to be, None if only its end will tell."""
        length = self.head.fields.body_length
        return None if length == CHUNKED else length

    @property
    def captures(self) -> Captures | None:
        """What the groups of the route's path regex matched."""
        return None if self._traffic is None else self._resolution.captures

    @property
    def identity(self) -> bytes | None:
        """The id of the consumer that plugins found, else of its credential."""
        request = None if self._run is None else self._run.request
        found = None if request is None else request.consumer or request.credential
        return None if found is None else str(found.id).encode()

    @property
    def _client_name(self) -> str:
        return self.client.address.decode()

    @property
    def body_size(self) -> int:
        """Bytes of the request body so far."""
        return self.ingress_bytes - self.head.size

    # -- in the end

    def _record(self) -> Record:
        """Return what the access log tells of this exchange, which has just ended."""
        head = self.head
        started_at, chosen_at, head_at = self._started_at, self._chosen_at, self._head_at
        now = perf_counter()
        return Record(
            started_at=time() - (now - started_at),
            client=self.client.address,
            request_id=self.request_id,
            status=self.status,
            response_bytes=self.egress_bytes,
            response_head=self._downstream.sent_head if head_at else b"",
            method=head.method,
            target=head.odd_target or head.path + head.query,
            version=self.version,
            request_lines=head.fields.block,
            request_bytes=self.ingress_bytes,
            origin=self._origin(),
            tls=self._downstream.tls_facts,
            route=self.route,
            service=self.service,
            upstream_uri=self._upstream_uri() if chosen_at else b"",
            from_upstream=self._from_upstream,
            tries=self._told_tries(time() - now),
            total_ms=(now - started_at) * 1000,
            own_ms=((chosen_at or head_at or now) - started_at) * 1000,
            upstream_ms=((head_at or now) - chosen_at) * 1000 if chosen_at else -1,
            receive_ms=(now - head_at) * 1000 if self._from_upstream else 0,
        )

    def _outcome(self) -> Outcome:
        """Return the little that plugins may know at no cost."""
        return Outcome(self.status, self._from_upstream, self.ingress_bytes, self.egress_bytes)

    def _upstream_uri(self) -> bytes:
        changes = None if self._run is None else self._run.request.changes
        path, query = (None, None) if changes is None else (changes.path, changes.query)
        return (self._resolution.upstream_path if path is None else path) + (
            self.query if query is None else query
        )

    def _origin(self) -> bytes:
        host = host_without_port(self.host)
        if not host or self.head.odd_target:
            return b""
        return b"%b://%b:%d" % (b"https" if self.client.tls else b"http", host, self.client.port)

    def _told_tries(self, epoch: float) -> list[Try]:
        """Return the tries; ``epoch`` is what the clock of this exchange counts from."""
        tries = [
            Try(epoch + chosen_at, endpoint.address, endpoint.port, status)
            for endpoint, chosen_at, status in self._failures
        ]
        if self._from_upstream:
            endpoint = self._endpoint
            tries.append(Try(epoch + self._chosen_at, endpoint.address, endpoint.port, 0))
        return tries

    def _count(self, ended_at: float) -> None:
        """Count the exchange; without a route there is no series to count it in but one."""
        traffic = self._traffic
        if traffic is None:
            metrics = self._proxy.traffic
            codes = metrics.unmatched if self.status == 404 else metrics.refused
            codes[self.status] = codes.get(self.status, 0) + 1
            return
        traffic.count(self.status, self._from_upstream, self.ingress_bytes, self.egress_bytes)
        started_at, chosen_at, head_at = self._started_at, self._chosen_at, self._head_at
        traffic.observe_latencies(
            (ended_at - started_at) * 1000,
            ((chosen_at or head_at or ended_at) - started_at) * 1000,
            (head_at - chosen_at) * 1000 if chosen_at and head_at > chosen_at else None,
        )

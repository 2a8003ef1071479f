"""One request and its response: the life cycle, free of HTTP/1 details.

The way of an exchange: resolve the route, check the protocol, pick a target, get a connection,
send, relay the response, count. Every step may end it with an answer of our own. The client is
reached through `Downstream` only, so that other protocols than HTTP/1 fit in beside it.

An exchange keeps what it resolved from one snapshot until its end, whatever is applied meanwhile.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.balancing import Failure
from gateway.plugins.lines import without
from gateway.plugins.response import Response
from gateway.proxy import errors
from gateway.proxy.backlog import Backlog
from gateway.proxy.exchange_facts import FailedTry
from gateway.proxy.exchange_heads import ExchangeHeads
from gateway.proxy.http1 import CHUNKED, MIN_VERSION, NO_BODY, MessageError, ResponseHead
from gateway.proxy.plugin_failures import UNEXPECTED
from gateway.proxy.plugin_run import PluginError, PluginRun
from gateway.proxy.pool import ConnectError
from gateway.proxy.request_body import KeptBody, StreamedBody
from gateway.proxy.resolution import host_without_port
from gateway.proxy.spool import SpoolError
from gateway.proxy.tunnel import Tunnel, Tunnelled
from gateway.proxy.upgrade import chosen_protocol
from gateway.proxy.upstream import MUCH_AT_ONCE_BYTES, UpstreamConnection
from gateway.proxy.upstream_tls import TlsPeer, server_name

if TYPE_CHECKING:
    from gateway.balancing import HashOn, Listener
    from gateway.plugins.chain import Chain
    from gateway.plugins.reply import Replay, Reply
    from gateway.proxy.destinations import Destination
    from gateway.snapshot import Route

_NOT_REPEATED = frozenset({b"POST", b"PATCH", b"LOCK"})
"""Methods that are not sent twice once a byte of them is out (proxying.md section 5)."""

_NEVER_A_BODY = frozenset({204, 304})

CLIENT_GONE = 499


class Exchange(ExchangeHeads):
    """A request on its way to a target and its response on the way back."""

    __slots__ = ()

    # -- the way there

    def start(self) -> None:
        """Send the request on its way, as soon as the snapshot is as new as it has to be."""
        if not self.head.fields.is_ordinary or self._proxy.inspects_all:
            self._inspect()
        else:
            self.proceed()

    def _inspect(self) -> None:
        """Learn who the client is and whether it has to wait, where that is not plain."""
        proxy, peer, fields = self._proxy, self._downstream.peer, self.head.fields
        client = proxy.forwarding.client_behind(self.client, peer, fields)
        if client is not self.client:
            self.client = client
            self.head.fields = fields.as_special()
        proxy.freshness.admit(self, fields.special.get(MIN_VERSION), peer.address)

    def proceed(self) -> None:
        """Resolve the route and go to its service."""
        if self._over:
            return
        resolution = self._proxy.table.find(self.head, self.host, self.path, self.client)
        if resolution is None:
            self._meet_plugins_of_all()
            self.answer(404, errors.NO_ROUTE)
            return
        self._resolution = resolution
        self._traffic = resolution.traffic
        if resolution.route.only is not None and self._refuses(resolution.route):
            return
        if resolution.chain is None:
            self.go_to_service()
        else:
            self._meet_plugins(resolution.chain).access()

    def go_to_service(self) -> None:
        """Send the request to its service, now that nothing speaks against it."""
        resolution = self._resolution
        if resolution.service is None:
            self.answer(503, resolution.unserved)
            return
        self._service = resolution.service
        changes = None if self._run is None else self._run.request.changes
        if changes is not None:
            self.sent_method = changes.method or self.method
            if changes.body is not None:
                self._replace_body(changes.body)
        if self._body_asked is None and self.head.fields.body_length:
            self._ask_for_body(keep=resolution.route.request_buffering)
        elif self._body_asked is None or self._body_asked.done():
            self._try_next()
        else:  # a plugin has asked for it, and did not wait
            self._body_asked.add_done_callback(self._on_body_there)

    def _meet_plugins(self, chain: Chain) -> PluginRun:
        run = self._run = PluginRun(self, chain, self._proxy.plugin_failures)
        return run

    def _meet_plugins_of_all(self) -> None:
        """Let those plugins see the answer to a request without a route that are for all."""
        chain = self._proxy.table.chain_without_route
        if chain is not None:
            self._meet_plugins(chain).collect()

    def _refuses(self, route: Route) -> bool:
        """Answer a request that came by another protocol than its route is for, and tell so."""
        if route.only != "grpc" and self.is_https:
            return False
        self._meet_plugins_of_all()
        if route.only == "grpc":
            self._refuse_http1()
        else:
            self._refuse_plain_http(route.https_redirect_status_code)
        return True

    def refuse(self, status: int, message: str) -> None:
        """Answer that the snapshot is not as new as it has to be."""
        if not self._over:
            self.answer(status, message, b"\r\nRetry-After: 1" if status == 503 else b"")

    def _ask_for_body(self, *, keep: bool) -> None:
        """Go on once the body is there, or let it follow."""
        proxy = self._proxy
        if keep:
            self._body = KeptBody(self, proxy.spool_room, proxy.buffer_limit_bytes)
            self._downstream.read_body(proxy.settings.body_min_bytes_s)
        else:
            length = self.head.fields.body_length
            self._body = StreamedBody(self, length, proxy.buffer_limit_bytes)
            self._downstream.read_body(0)
            if not self._over:
                self._try_next()

    def on_request_body(self, data: bytes) -> None:
        """Take a piece of the request body from the client."""
        self.ingress_bytes += len(data)
        if self._body_limit is not None and self._is_refused(*self._body_limit):
            return
        if self._body is not None:
            self._body.take(data)

    def on_request_end(self, trailers: bytes) -> None:
        """Hear that the request body is complete, and which header lines came behind it."""
        if self._body is not None:
            self._body.end(trailers)

    def on_body_whole(self) -> None:
        """Send the request, now that all of its body is here, or show it to who waits for it."""
        if self._body_asked is None:
            self._try_next()
        elif not self._body_asked.done():
            self._body_asked.set_result(None)

    def _on_body_there(self, _: object) -> None:
        if not self._over:
            self._try_next()

    async def read_body(self) -> bytes:
        """Return the whole body, once it is there. Raises BodyTooLarge."""
        if not self.head.fields.body_length:
            return b""
        if self._body_asked is None:
            self._body_asked = self._proxy.loop.create_future()
            self._ask_for_body(keep=True)
        await asyncio.shield(self._body_asked)  # others may wait for it as well
        assert isinstance(self._body, KeptBody)  # noqa: S101 - asked for as such
        return self._body.in_memory()

    def limit_body(self, limit_bytes: int, refusal: Reply) -> Reply | None:
        """Answer so once more of the body than this has come; return it if that is so by now."""
        if self.body_size > limit_bytes:
            return refusal
        self._body_limit = limit_bytes, refusal
        return None

    def _is_refused(self, limit_bytes: int, refusal: Reply) -> bool:
        """Refuse a body that has become too long; one that was answered early is cut."""
        if self.body_size <= limit_bytes:
            return False
        if self.responding:
            self._cut()
        else:
            self.answer_with(refusal)
        return True

    def _replace_body(self, content: bytes) -> None:
        """Send this in place of the client's body, which has been read."""
        if self._body is not None:
            self._body.close()
        proxy = self._proxy
        self._body = KeptBody(self, proxy.spool_room, max(len(content), proxy.buffer_limit_bytes))
        self._body.take(content)

    def on_body_lost(self, error: SpoolError) -> None:
        """Give up: the body cannot be kept."""
        self._proxy.failures.note("request body not kept", str(error), self._client_name)
        if self.responding:
            self._cut()
        elif error.no_room:
            self.answer(503, errors.NO_ROOM)
        else:
            self.answer(500)

    def hold_body(self) -> None:
        """Let no more of the request body come for now."""
        self._downstream.pause_body()

    def resume_body(self) -> None:
        """Let more of it come."""
        self._downstream.resume_body()

    def on_client_gone(self) -> None:
        """Hear that nobody waits for the response any more: release the upstream side."""
        if not self._over:
            self.status = self.status or CLIENT_GONE
            self._drop_upstream()
            # How long a tunnel lasted is nobody's latency.
            self._end(self._head_at if self.status == 101 else None)

    def _try_next(self) -> None:
        self._tries += 1
        self._pick()

    def on_endpoints_known(self) -> None:
        """Pick one, now that names have answered."""
        if not self._over:
            self._pick()

    def _pick(self) -> None:
        """Pick an endpoint, and send the request there as soon as there is a connection."""
        resolution = self._resolution
        destination = resolution.destination
        now = perf_counter()
        if now >= destination.due_at:
            destination.refresh(now)
        value = None if destination.hash_on is None else self._hash_value(destination.hash_on)
        endpoint = destination.pick(now, self._failed, value)
        if endpoint is None:
            self._find_no_endpoint(destination)
            return
        self._endpoint = endpoint
        self._listener = destination.listener
        self._chosen_at = now
        self._host_header = endpoint.host_header[self._service.protocol]
        if resolution.route.preserve_host:
            self._host_header = self.host or self._downstream.client.sni or self._host_header
        terms = resolution.tls
        peer = None if terms is None else TlsPeer(server_name(self._host_header), terms)
        pools = self._proxy.pools
        connection = pools.take_idle(endpoint, peer)
        if connection is not None:
            self._send(connection)
        else:
            pools.open_for(self, self._service, endpoint, peer)

    def _hash_value(self, hash_on: HashOn) -> bytes | None:
        """Return what this request is hashed by, which stays the same for all its tries."""
        value = hash_on.read(self)
        if value is None and hash_on.makes_up_cookies:
            if self._cookie is None:
                self._cookie = hash_on.make_up_cookie()
            value = self._cookie.value
        return value

    def _find_no_endpoint(self, destination: Destination) -> None:
        """Wait for names to answer, or give up."""
        if destination.is_waiting:
            destination.wait(self)
        elif self._failures:
            self.answer(503)
        else:
            self.answer(*destination.refusal())

    def on_connected(self, connection: UpstreamConnection) -> None:
        """Take the connection that was opened for this exchange."""
        if self._over:
            connection.rest()
        else:
            self._send(connection)

    def on_connect_failed(self, failure: ConnectError) -> None:
        """Try the next target: nothing was sent, so any request may be repeated."""
        if self._over:
            return
        self._note_failure("no connection", str(failure))
        self._fail_try(timed_out=failure.timed_out, may_repeat=True)

    def _send(self, connection: UpstreamConnection) -> None:
        self.upstream = connection
        body = self._body
        if body is None:
            connection.send_request(self, self._request_head(), self._service)
        else:
            self.request_sent = False
            connection.send_request(self, self._request_head(), self._service)
            body.send()

    # -- what can go wrong there

    def on_no_response(
        self, reason: str, connection: UpstreamConnection, *, timed_out: bool
    ) -> None:
        """Try again when the connection ended or fell silent before a response, where allowed."""
        self.upstream = None
        self._note_failure("no response", reason)
        may_repeat = self.sent_method not in _NOT_REPEATED
        may_have_been_idle = connection.reused and not timed_out and not self._extra_try_used
        if may_have_been_idle:
            self._extra_try_used = True  # it may just have been closed for idleness
            self._tries -= 1
        self._fail_try(timed_out=timed_out, may_repeat=may_repeat, is_fault=not may_have_been_idle)

    def on_bad_response(self, reason: str) -> None:
        """Answer 502: what came was no response, and asking again would not make it one."""
        self.upstream = None
        self._note_failure("bad response", reason)
        self._fail_try(timed_out=False, may_repeat=False)

    def _fail_try(self, *, timed_out: bool, may_repeat: bool, is_fault: bool = True) -> None:
        """Remember how the try ended, and try again where allowed.

        Other endpoints are preferred then, if it was the fault of this one.
        """
        endpoint = self._endpoint
        status = 504 if timed_out else 502
        self._failures += (FailedTry(endpoint, self._chosen_at, status),)
        if self._body is not None and not self._body.may_be_repeated:
            may_repeat = False
        is_last = not may_repeat or self._tries > self._service.retries
        if self._listener is not None:
            failure = Failure.TIMEOUT if timed_out else Failure.CONNECTION
            self._tell_failure(self._listener, failure if is_fault else None, is_last=is_last)
        if is_last:
            self.answer(status)
            return
        if is_fault:
            self._failed += (endpoint,)
        self._try_next()

    def _tell_failure(self, listener: Listener, failure: Failure | None, *, is_last: bool) -> None:
        """Tell that the try has failed, and another follows or not."""
        self._listener = None
        if failure is None:
            listener.left(self._endpoint)
        else:
            now = perf_counter()
            took_s = now - self._chosen_at
            listener.failed(self._endpoint, failure, now, took_s, is_last=is_last)

    def _tell_end(self, listener: Listener) -> None:
        """Tell how the last try ended, unless it failed."""
        self._listener = None
        if self._from_upstream:
            at, status = self._head_at, self.response_head.status
            listener.answered(self._endpoint, status, at, at - self._chosen_at)
        else:
            listener.left(self._endpoint)

    def _note_failure(self, event: str, reason: str) -> None:
        self._proxy.failures.note(event, reason, f"{self._endpoint.host}:{self._endpoint.port}")

    # -- the way back

    def on_response_head(self, head: ResponseHead, pieces: list[bytes], *, ended: bool) -> None:
        """Relay a response: its head, and as much of the body as came with it."""
        self._head_at = perf_counter()
        self.status = head.status
        self.response_head = head
        self._from_upstream = True
        if ended:
            self.upstream = None  # back in its pool: not to be held back for this client
        run = self._run
        lines, body_length = self._response_lines(head), head.body_length
        if self.sent_method != self.method:
            lines, body_length = self._fit(lines, body_length)
            if self.method == b"HEAD":
                self._drop_upstream()  # what there is of a body is for nobody
                pieces, ended = [], True
        if run is None or not run.filters:
            self.egress_bytes += self._downstream.begin_response(
                head.status_text, lines, body_length, pieces, ended=ended
            )
        elif not self._begin_filtered(run, head, lines, body_length, pieces, ended=ended):
            return
        if ended:
            self._end()

    def _fit(self, lines: bytes, body_length: int) -> tuple[bytes, int]:
        """Make header lines and length fit a client that asked with another method (HEAD)."""
        if self.method == b"HEAD":
            told = b"\r\nContent-Length: %d" % body_length if body_length >= 0 else b""
            return lines + told, NO_BODY
        if self.sent_method == b"HEAD" and self.status not in _NEVER_A_BODY:
            return without(lines, "content-length"), 0
        return lines, body_length

    def _begin_filtered(
        self,
        run: PluginRun,
        head: ResponseHead,
        lines: bytes,
        body_length: int,
        pieces: list[bytes],
        *,
        ended: bool,
    ) -> bool:
        """Relay a response as plugins make it; return whether it is as long as it was."""
        response = Response(head.status, lines, head)
        try:
            run.filter_head(response)
            if response.drops_body or _has_body(response.status) != _has_body(head.status):
                self._send_without_body(response)
                return False
            if run.watchers:
                run.watch_body(pieces, ended=ended)
            if run.filters_body and body_length != NO_BODY:
                body_length = CHUNKED
                pieces = run.filter_body(pieces, ended=ended)
        except PluginError:
            self._answer_failed()
            return False
        self.status = response.status
        self.egress_bytes += self._downstream.begin_response(
            head.status_text
            if response.status == head.status
            else errors.status_text(response.status),
            response.lines,
            body_length,
            pieces,
            ended=ended,
        )
        return True

    def _send_without_body(self, response: Response) -> None:
        """End the exchange with a head alone."""
        self._drop_upstream()
        self.status = response.status
        self.egress_bytes += self._downstream.begin_response(
            errors.status_text(response.status),
            without(response.lines, "content-length"),
            NO_BODY if response.status in _NEVER_A_BODY else 0,
            [],
            ended=True,
        )
        self._end()

    def on_response_body(self, pieces: list[bytes], *, ended: bool) -> None:
        """Relay more of the body, or keep it for a client that takes no more for now."""
        if ended:
            self.upstream = None
        run = self._run
        if run is not None:
            if run.watchers:
                run.watch_body(pieces, ended=ended)
            if run.filters_body:
                try:
                    pieces = run.filter_body(pieces, ended=ended)
                except PluginError:
                    self._cut()
                    return
        if self._backlog is None:
            self.relay(pieces, ended=ended)
        else:
            self._backlog.take(pieces, ended=ended)

    def relay(self, pieces: list[bytes], *, ended: bool) -> None:
        """Send more of the body to the client."""
        self.egress_bytes += self._downstream.continue_response(pieces, ended=ended)
        if ended:
            self._end()

    def on_interim_response(self, head: ResponseHead) -> None:
        """Relay a 1xx response."""
        self.egress_bytes += self._downstream.send_interim(head.status_text, head.rest)

    def on_response_trailers(self, lines: bytes) -> None:
        """Keep trailers for the end of the response, if the client wants to have them."""
        if self._takes_trailers():
            self.response_trailers = lines

    def on_response_cut(self, reason: str) -> None:
        """Cut the client's connection too: a short body must never pass for a whole one."""
        self.upstream = None
        self._note_failure("response cut", reason)
        self._cut()

    def on_upgrade(self, head: ResponseHead, ahead: bytes, connection: Tunnelled) -> None:
        """Relay a 101, and what came with it, and leave both sides to a tunnel.

        The exchange lasts until the client is gone.

        :raises MessageError: when this is not what the client asked for.
        """
        protocol = chosen_protocol(head.special, self.head.fields.upgrades)
        if protocol is None or not head.keep_alive or not self.request_sent:
            raise MessageError("upgrade that was not asked for")
        self._head_at = perf_counter()
        self.status = head.status
        self.response_head = head
        self._from_upstream = True
        try:
            lines = self._upgrade_lines(head)
        except PluginError:
            self._answer_failed()
            return
        self.upstream = None
        self._free_bodies()
        message = b"".join((b"HTTP/1.1 ", head.status_text, lines, b"\r\n\r\n"))
        self._downstream.sent_head = message
        self.egress_bytes += len(message) + len(ahead)
        tunnel = Tunnel(self, self._service, self._proxy.wheel, self._proxy.loop)
        tunnel.begin(self._downstream, connection, message + ahead)

    def _upgrade_lines(self, head: ResponseHead) -> bytes:
        """Return the header lines of a 101 as plugins make them. Raises PluginError."""
        lines, run = self._response_lines(head), self._run
        if run is None:
            return lines
        response = Response(head.status, lines, head)
        run.filter_head(response)
        return response.lines

    def on_tunnel_cut(self, reason: str) -> None:
        """Hear that a tunnel had to be ended."""
        self._note_failure("tunnel cut", reason)

    def on_upstream_full(self) -> None:
        """Send the request body no faster than the upstream takes it."""
        if self._body is not None:
            self._body.on_upstream_full()

    def on_upstream_drained(self) -> None:
        """Send more of the request body."""
        if self._body is not None:
            self._body.on_upstream_drained()

    # -- a client slower than its upstream

    def on_client_full(self) -> None:
        """Keep what comes of the response from now on, or let no more of it come."""
        if self._backlog is not None:
            self._backlog.on_client_full()
        elif self.upstream is None or not self.responding:
            return  # it has all come, or nothing yet but a few 1xx
        elif self._keeps_response():
            self._backlog = self._new_backlog()
        else:
            self.upstream.pause_reading()

    def on_client_drained(self) -> None:
        """Send on what was kept, or let more come."""
        if self._backlog is not None:
            self._backlog.on_client_drained()
        elif self.responding:
            self.resume_upstream()

    def _keeps_response(self) -> bool:
        return self._resolution.route.response_buffering and self.response_head.may_be_kept

    def _new_backlog(self) -> Backlog:
        proxy = self._proxy
        return Backlog(
            self,
            proxy.spool_room,
            proxy.buffer_limit_bytes,
            proxy.settings.response_spool_limit_bytes,
        )

    def hold_upstream(self) -> None:
        """Read no more of the response for now."""
        if self.upstream is not None:
            self.upstream.pause_reading()

    def resume_upstream(self) -> None:
        """Read on."""
        if self.upstream is not None:
            self.upstream.resume_reading()

    def on_backlog_sent(self) -> None:
        """Relay directly again."""
        if self._backlog is not None:
            self._backlog.close()
            self._backlog = None

    def on_backlog_lost(self, error: SpoolError) -> None:
        """Cut the response: some of it cannot be sent any more."""
        self._drop_upstream()
        self.on_response_cut(str(error))

    def note_no_spool(self, error: SpoolError) -> None:
        """Log that the upstream has to wait for its client."""
        self._proxy.failures.note("response not kept", str(error), self._client_name)

    # -- answers of our own

    def answer(self, status: int, message: str | None = None, extra: bytes = b"") -> None:
        """End the exchange with an answer of our own (proxying.md section 4).

        ``message`` defaults to the status's own; an empty one sends no body. ``extra`` is header
        lines, each led by CRLF.
        """
        bodies = self._proxy.error_bodies
        content_type = bodies.choose_type(self.head.fields.headers(), by_router=message is not None)
        if message is None:
            message = errors.message_of(status)
        body = bodies.render(message, self.request_id.decode(), content_type) if message else b""
        self._respond(bodies.as_sent(status), content_type, body, extra)

    def answer_with(self, reply: Reply) -> None:
        """End the exchange with the answer of a plugin."""
        if reply.message is not None:
            self.answer(reply.status, reply.message, reply.lines)
        else:
            self._respond(reply.status, reply.content_type, reply.body, reply.lines)

    def replay(self, reply: Replay) -> None:
        """End the exchange with a service's earlier response, as if it had just come."""
        head, run = reply.head, self._run
        self._chosen_at = self._head_at = perf_counter()
        self.status = head.status
        self.response_head = head
        lines, body_length = self._response_lines(head) + reply.lines, head.body_length
        if self.method == b"HEAD":
            lines, body_length = self._fit(lines, body_length)
        pieces = [] if body_length == NO_BODY else [reply.body]
        if run is None or not run.filters:
            large = pieces if len(reply.body) >= MUCH_AT_ONCE_BYTES else []  # not to be copied
            self.egress_bytes += self._downstream.begin_response(
                head.status_text, lines, body_length, [] if large else pieces, ended=not large
            )
            if large:
                self.egress_bytes += self._downstream.continue_response(large, ended=True)
        elif not self._begin_filtered(run, head, lines, body_length, pieces, ended=True):
            return
        self._end(self._head_at)

    def _answer_failed(self) -> None:
        """Answer what a plugin's failure on the way back deserves; none may change that."""
        if self._run is not None:
            self._run.stop_filtering()
        self._from_upstream = False
        self.answer_with(UNEXPECTED)

    def _respond(self, status: int, content_type: str, body: bytes, extra: bytes) -> None:
        self.status = status
        self._head_at = perf_counter()
        self._drop_upstream()
        lines, run = self._answer_lines(content_type) + extra, self._run
        if run is not None and run.filters:
            try:
                lines, body = self._filtered_answer(run, lines, body)
            except PluginError:
                self._answer_failed()
                return
        self.egress_bytes += self._downstream.begin_response(
            errors.status_text(self.status),
            lines,
            NO_BODY if self.status in _NEVER_A_BODY else len(body),
            [] if self.method == b"HEAD" or self.status in _NEVER_A_BODY else [body],
            ended=True,
        )
        self._end()

    def _filtered_answer(self, run: PluginRun, lines: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Return lines and body of our own answer as plugins make it. Raises PluginError."""
        response = Response(self.status, lines)
        run.filter_head(response)
        if run.filters_body:
            body = b"".join(run.filter_body([body], ended=True))
        self.status = response.status
        return response.lines, b"" if response.drops_body else body

    def _refuse_plain_http(self, status: int) -> None:
        """Send the client to HTTPS (router.md section 8)."""
        if status == 426:
            extra = b"\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1"
            self.answer(426, errors.HTTPS_ONLY, extra)
            return
        forwarding, peer = self._proxy.forwarding, self._downstream.peer
        asked = forwarding.host_of(self.host, peer, self.head.fields.special)
        host = host_without_port(asked).lower()
        location = b"https://" + host + self.path + self.query
        self.answer(status, "", extra=b"\r\nLocation: " + location)

    def _refuse_http1(self) -> None:
        """Say that gRPC needs HTTP/2, or that this is no gRPC (router.md section 8)."""
        content_types = [v for n, v in self.head.fields.headers() if n == b"content-type"]
        if content_types and content_types[0].startswith(b"application/grpc"):
            extra = b"\r\nConnection: Upgrade\r\nUpgrade: HTTP/2"
            self.answer(426, errors.HTTP2_ONLY, extra)
        else:
            self.answer(415, errors.GRPC_ONLY)

    # -- the end

    def _cut(self) -> None:
        """Break the response off, whatever there is still to come."""
        self._drop_upstream()
        self._downstream.cut_response()
        self._end()

    def _drop_upstream(self) -> None:
        connection, self.upstream = self.upstream, None
        if connection is not None:
            connection.close()

    def _end(self, ended_at: float | None = None) -> None:
        self._over = True
        if self._listener is not None:
            self._tell_end(self._listener)
        if self._body is not None or self._backlog is not None:
            self._free_bodies()
        self._count(ended_at or perf_counter())
        log, run = self._proxy.access_log, self._run
        curious = () if run is None or not run.logs else run.end(self._outcome())
        if log is not None or curious:
            record = self._record()
            if log is not None:
                log.note(record)
            if run is not None:
                run.log(curious, record)
        if run is not None:
            run.stop()
            self._run = None  # they know each other: the garbage collector is to find nothing
        self._downstream.end_exchange()

    def _free_bodies(self) -> None:
        if self._body is not None:
            self._body.close()
        if self._backlog is not None:
            self._backlog.close()
        self._body = self._backlog = None


def _has_body(status: int) -> bool:
    """Whether responses with this status have a body, by themselves."""
    return status not in _NEVER_A_BODY

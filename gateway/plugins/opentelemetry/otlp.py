"""Spans as OTLP has them, with the attributes of OpenTelemetry's conventions for HTTP.

Importing this loads Protocol Buffers, which is left to nodes that have the plugin in use. Messages
that lie behind each other are one, with the repeated fields of all: so what is queued of each
request is a message of its own, and a batch is all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from gateway import __version__
from gateway.access_log import Record
from gateway.plugins.log_record import without_key
from gateway.plugins.request import Request
from gateway.plugins.tracing.spans import TimedTry, end_of, tries_of
from gateway.plugins.tracing.trace import Trace, new_id

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)
_KNOWN_PAIRS = 1024
_SAMPLED = 1
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
_ERROR = Status(code=Status.STATUS_CODE_ERROR)
_SCOPE = InstrumentationScope(name="gateway", version=__version__)


class SpanWriter:
    """Writes the spans of requests; ``own`` is the prefix of attributes that are the gateway's."""

    def __init__(self, own: str) -> None:
        self._own = own

    def entry(self, request: Request, record: Record, trace: Trace) -> bytes:
        """Return the spans of a request: its own, and one for each try to have it answered.

        The service has been told the id of the last one.
        """
        spans = [self._server_span(request, record, trace)]
        spans += [self._client_span(request, record, trace, one) for one in tries_of(record)]
        entry: bytes = ScopeSpans(spans=spans).SerializeToString()
        return entry

    def _server_span(self, request: Request, record: Record, trace: Trace) -> Span:
        method, _ = _method_of(record.method)
        name = "HTTP" if method == "_OTHER" else method
        if record.route is not None and record.route.name:
            name += " " + record.route.name
        parent = trace.parent.span_id
        return Span(
            trace_id=_trace_id(trace),
            span_id=_span_id(trace.server_id),
            parent_span_id=_span_id(parent) if parent else b"",
            flags=_SAMPLED | _HAS_IS_REMOTE | (_IS_REMOTE if parent else 0),
            name=name,
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=_ns(record.started_at),
            end_time_unix_nano=_ns(end_of(record)),
            attributes=self._server_attributes(request, record),
            status=_ERROR if record.status >= 500 else None,
        )

    def _server_attributes(self, request: Request, record: Record) -> Iterator[KeyValue]:
        method, original = _method_of(record.method)
        target = without_key(_text(record.target), request.credential)
        path, _, query = target.partition("?")
        yield _known_pair("http.request.method", method)
        if original:
            yield _pair("http.request.method_original", original)
        yield _known_pair("url.scheme", request.scheme)
        yield _pair("url.path", path)
        if query:
            yield _pair("url.query", query)
        yield _known_pair("network.protocol.version", _text(record.version.removeprefix(b"HTTP/")))
        yield _known_pair("client.address", _text(record.client))
        if record.origin:
            host, _, port = _text(record.origin).partition("://")[2].rpartition(":")
            yield _pair("server.address", host.strip("[]"))
            yield _known_pair("server.port", int(port))
        agent = request.header("user-agent")
        if agent is not None:
            yield _pair("user_agent.original", agent)
        yield _known_pair("http.response.status_code", record.status)
        if record.status >= 500:
            yield _known_pair("error.type", str(record.status))
        yield from self._own_attributes(request, record)

    def _own_attributes(self, request: Request, record: Record) -> Iterator[KeyValue]:
        own = self._own
        yield _pair(f"{own}.request.id", _text(record.request_id))
        if record.route is not None:
            yield _known_pair(f"{own}.route.id", str(record.route.id))
            if record.route.name:
                yield _known_pair(f"{own}.route.name", record.route.name)
        if record.service is not None:
            yield _known_pair(f"{own}.service.id", str(record.service.id))
            yield _known_pair(f"{own}.service.name", record.service.label)
        if request.consumer is not None:
            yield _known_pair(f"{own}.consumer.id", str(request.consumer.id))
            if request.consumer.username:
                yield _known_pair(f"{own}.consumer.name", request.consumer.username)

    def _client_span(self, request: Request, record: Record, trace: Trace, one: TimedTry) -> Span:
        method, _ = _method_of(record.method)
        return Span(
            trace_id=_trace_id(trace),
            span_id=_span_id(trace.client_id if one.is_last else new_id(8)),
            parent_span_id=_span_id(trace.server_id),
            flags=_SAMPLED | _HAS_IS_REMOTE,
            name="HTTP" if method == "_OTHER" else method,
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=_ns(one.started_at),
            end_time_unix_nano=_ns(one.ended_at),
            attributes=_client_attributes(request, record, one),
            status=_ERROR if one.problem or one.status >= 400 else None,
        )


def _client_attributes(request: Request, record: Record, one: TimedTry) -> Iterator[KeyValue]:
    service = record.service
    scheme = "http" if service is None else service.protocol
    host = f"[{one.address}]" if ":" in one.address else one.address
    path = without_key(_text(record.upstream_uri), request.credential)
    yield _known_pair("http.request.method", _method_of(record.method)[0])
    yield _pair("url.full", f"{scheme}://{host}:{one.port}{path}")
    yield _known_pair("server.address", one.address)
    yield _known_pair("server.port", one.port)
    yield _known_pair("network.protocol.version", "1.1")
    if one.number:
        yield _known_pair("http.request.resend_count", one.number)
    if one.status:
        yield _known_pair("http.response.status_code", one.status)
    if one.problem or one.status >= 400:
        yield _known_pair("error.type", one.problem or str(one.status))


class Exporter:
    """Writes batches of entries as requests to a collector, in the name of this node."""

    def __init__(self, resource: Mapping[str, str]) -> None:
        self._resource = Resource(attributes=[_pair(*item) for item in resource.items()])

    def body(self, entries: Sequence[bytes]) -> bytes:
        """Return what a collector is sent for some entries."""
        spans = ScopeSpans.FromString(b"".join(entries))
        spans.scope.CopyFrom(_SCOPE)
        every = ResourceSpans(resource=self._resource, scope_spans=[spans])
        body: bytes = ExportTraceServiceRequest(resource_spans=[every]).SerializeToString()
        return body


def _method_of(raw: bytes) -> tuple[str, str]:
    """Return the method by the conventions, and the original where that is another."""
    method = _text(raw)
    return (method, "") if method in _METHODS else ("_OTHER", method)


def _pair(key: str, value: str | int) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    return KeyValue(key=key, value=AnyValue(int_value=value))


_known_pair = lru_cache(_KNOWN_PAIRS)(_pair)
"""For short ones that many requests have: to copy them is cheaper than to make them."""


def _trace_id(trace: Trace) -> bytes:
    return trace.trace_id.to_bytes(16)


def _span_id(number: int) -> bytes:
    return number.to_bytes(8)


def _ns(moment_s: float) -> int:
    return int(moment_s * 1e9)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

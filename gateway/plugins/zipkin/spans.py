"""Spans as Zipkin's JSON has them, with the tags of Kong's plugin (plugins.md section 5.22)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, TypeAlias

from gateway.access_log import Record
from gateway.plugins.lines import values_of
from gateway.plugins.request import Request
from gateway.plugins.tracing.spans import TimedTry, end_of, tries_of
from gateway.plugins.tracing.trace import Trace, new_id
from gateway.plugins.zipkin.config import ZipkinConfig

MOST_TAGS = 32
"""Tags that a request may bring along."""

Span: TypeAlias = dict[str, Any]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class SpanWriter:
    """Writes the spans of requests; ``own`` is the prefix of tags that are the gateway's."""

    def __init__(self, config: ZipkinConfig, own: str, node_name: str) -> None:
        self._config = config
        self._own = own
        self._local = {"serviceName": config.local_service_name}
        self._static = {tag.name: tag.value for tag in config.static_tags or ()}
        self._of_node = {"lc": own, f"{own}.node.id": node_name}

    def entry(self, request: Request, record: Record, trace: Trace) -> bytes:
        """Return the spans of a request, as members of an array."""
        spans = [self._request_span(request, record, trace)]
        if record.tries:
            name = spans[0]["name"]
            spans.append(self._proxy_span(record, trace, name))
            spans += [self._try_span(record, trace, name, one) for one in tries_of(record)]
        return ",".join(map(_encode, spans)).encode(errors="backslashreplace")

    def _request_span(self, request: Request, record: Record, trace: Trace) -> Span:
        name, path = _text(record.method), _text(record.target).partition("?")[0]
        tags = {
            "http.method": name,
            "http.path": path,
            "http.host": request.host,
            "http.protocol": _text(record.version),
            "http.status_code": str(record.status),
        }
        if record.status >= 500:
            tags["error"] = "true"
        if self._config.http_span_name == "method_path":
            name += " " + path
        span = self._span(trace, trace.server_id, name, record.started_at, end_of(record))
        if trace.parent.span_id:
            span["parentId"] = f"{trace.parent.span_id:016x}"
        return span | {
            "kind": "SERVER",
            "remoteEndpoint": _endpoint(_text(record.client)),
            "tags": self._brought_along(request)
            | self._static
            | tags
            | self._of_node
            | dict(self._who_and_where(request, record)),
        }

    def _brought_along(self, request: Request) -> dict[str, str]:
        """Return the tags that a request has of its own."""
        values = values_of(request.asked.client_lines, self._config.tags_header)
        parts = ";".join(values).split(";", MOST_TAGS)[:MOST_TAGS] if values else []
        pairs = [part.partition("=") for part in parts]
        return {name.strip(): value.strip() for name, sign, value in pairs if sign and name.strip()}

    def _who_and_where(self, request: Request, record: Record) -> Iterator[tuple[str, str]]:
        own = self._own
        if record.route is not None:
            yield f"{own}.route", record.route.label
        if record.service is not None:
            yield f"{own}.service", record.service.label
        if request.consumer is not None:
            yield f"{own}.consumer", str(request.consumer.id)
        if request.credential is not None and self._config.include_credential:
            yield f"{own}.credential", str(request.credential.id)

    def _proxy_span(self, record: Record, trace: Trace, name: str) -> Span:
        """Return the span that the service sees as its parent: all tries, and what came of them."""
        chosen_at = record.started_at + record.own_ms / 1000
        head_at = chosen_at + record.upstream_ms / 1000
        span = self._span(
            trace, trace.client_id, f"{name} (proxy)", record.tries[0].started_at, end_of(record)
        )
        span |= {"kind": "CLIENT", "parentId": f"{trace.server_id:016x}"}
        service = None if record.service is None else record.service.name
        last = record.tries[-1]
        service_name = service or self._config.default_service_name
        span["remoteEndpoint"] = _endpoint(last.address, last.port, service_name)
        if self._config.phase_duration_flavor == "tags":
            span["tags"] = {
                f"{self._own}.access.duration_ms": f"{record.own_ms:.3f}",
                f"{self._own}.waiting.duration_ms": f"{record.upstream_ms:.3f}",
                f"{self._own}.body_filter.duration_ms": f"{record.receive_ms:.3f}",
            }
        else:
            span["annotations"] = [
                {"timestamp": _us(moment), "value": value}
                for moment, value in (
                    (record.started_at, "kas"),
                    (chosen_at, "kaf"),
                    (head_at, "kbs"),
                    (end_of(record), "kbf"),
                )
            ]
        return span

    def _try_span(self, record: Record, trace: Trace, name: str, one: TimedTry) -> Span:
        title = f"{name} (balancer try {one.number + 1})"
        span = self._span(trace, new_id(8), title, one.started_at, one.ended_at)
        tags = {f"{self._own}.balancer.try": str(one.number + 1)}
        if record.route is not None:
            tags[f"{self._own}.route"] = record.route.label
        if one.problem:
            tags |= {"error": "true", f"{self._own}.balancer.state": "failed"}
        else:
            tags["http.status_code"] = str(one.status)
        return span | {
            "kind": "CLIENT",
            "parentId": f"{trace.server_id:016x}",
            "remoteEndpoint": _endpoint(one.address, one.port),
            "tags": tags,
        }

    def _span(self, trace: Trace, id_: int, name: str, since: float, until: float) -> Span:
        """Return what all spans have; ``since`` and ``until`` are in seconds since 1970."""
        trace_id = trace.trace_id
        return {
            "traceId": f"{trace_id:032x}" if trace_id >> 64 else f"{trace_id:016x}",
            "id": f"{id_:016x}",
            "name": name,
            "timestamp": _us(since),
            "duration": max(1, _us(until) - _us(since)),
            "localEndpoint": self._local,
        }


def _endpoint(address: str, port: int | None = None, name: str | None = None) -> Span:
    """Return who takes part; a host that was given by name is told as a service of that name."""
    endpoint: Span = {}
    try:
        endpoint["ipv6" if ip_address(address).version == 6 else "ipv4"] = address
    except ValueError:
        name = name or address
    if port is not None:
        endpoint["port"] = port
    if name is not None:
        endpoint["serviceName"] = name
    return endpoint


def _us(moment_s: float) -> int:
    return int(moment_s * 1e6)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

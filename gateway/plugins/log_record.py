"""What log plugins tell of a request: Kong's log object (proxying.md section 15).

Unlike the access log it has all headers, for those who read it expect them. Secrets are told as
``REDACTED``: what `Authorization` and cookies hold, and wherever they stand, tokens and the key by
which key-auth let the request in. Of route and service it has what a node knows of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

from gateway.access_log.record import Record, TlsFacts, Try
from gateway.plugins.identity import Consumer, Credential
from gateway.plugins.request import MOST_ARGUMENTS, Request
from gateway.plugins.tracing.trace import NOTE as TRACE
from gateway.plugins.tracing.trace import Trace
from gateway.settings import Compat, NodeSettings
from gateway.snapshot import Route, Service

_NOTE = "log_record"
_REMEMBERED = 512
_REMEMBERED_BYTES = 2048
_REDACTED = "REDACTED"
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_TOKEN = re.compile(r"eyJ[\w-]*+\.eyJ[\w-]*+\.[\w-]*+", re.ASCII)
"""A JSON Web Token: two objects of JSON and a signature, in Base64."""
_HEADER = re.compile(r"\r\n([^:\r]++):[ \t]*+([^\r]*+)")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class LogRecords:
    """Writes log objects; each request has one, whatever the number of plugins that tell it."""

    def __init__(self, settings: NodeSettings) -> None:
        self._own = "kong" if settings.compat is Compat.KONG else "gateway"

    def entry(self, request: Request, record: Record) -> bytes:
        """Return the object as JSON, without a newline."""
        known: bytes | None = request.context.get(_NOTE)
        if known is None:
            told = _encode(self._object(request, record))
            known = request.context[_NOTE] = told.encode(errors="backslashreplace")
        return known

    def _object(self, request: Request, record: Record) -> dict[str, Any]:
        credential = request.credential
        target = without_key(_text(record.target), credential)
        query = target.partition("?")[2]
        told = {
            "started_at": int(record.started_at * 1000),
            "client_ip": _text(record.client),
            "request": {
                "id": _text(record.request_id),
                "method": _text(record.method),
                "uri": target,
                "url": _text(record.origin) + target if record.origin else "",
                "size": record.request_bytes,
                "querystring": _arguments(query) if query else {},
                "headers": _request_headers(record.request_lines, _key_of(credential)),
            }
            | _tls(record.tls),
            "response": {
                "status": record.status,
                "size": record.response_bytes,
                "headers": _headers(record.response_head, None),
            },
            "latencies": {
                "request": int(record.total_ms),
                self._own: int(record.own_ms),
                "proxy": int(record.upstream_ms),
                "receive": int(record.receive_ms),
            },
            "upstream_uri": without_key(_text(record.upstream_uri), credential),
            "upstream_status": ", ".join([str(t.status or record.status) for t in record.tries]),
            "source": "upstream" if record.from_upstream else self._own,
            "workspace_name": "default",
        }
        told.update(_what_is_known(request, record))
        return told


def _what_is_known(request: Request, record: Record) -> Iterable[tuple[str, Any]]:
    """Yield those members that not every request has."""
    if record.tries:
        yield "tries", _tries(record.tries)
    if record.route is not None:
        yield "route", _route(record.route)
    if record.service is not None:
        yield "service", _service(record.service)
    if request.consumer is not None:
        yield "consumer", _consumer(request.consumer)
    credential = request.credential
    if credential is not None:
        ids = {"id": str(credential.id), "consumer_id": str(credential.consumer_id)}
        yield "authenticated_entity", ids
    if (correlation_id := request.context.get("correlation_id")) is not None:
        yield "correlation_id", str(correlation_id)
    trace: Trace | None = request.context.get(TRACE)
    if trace is not None and trace.formats:
        yield "trace_id", trace.ids()


def _tls(tls: TlsFacts | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {"tls": {"version": tls.version, "cipher": tls.cipher, "client_verify": "NONE"}}


def _tries(tries: Sequence[Try]) -> list[dict[str, Any]]:
    return [
        {
            "balancer_start": int(attempt.started_at * 1000),
            "ip": attempt.address,
            "port": attempt.port,
        }
        | ({"state": "failed", "code": attempt.status} if attempt.status else {})
        for attempt in tries
    ]


@lru_cache(_REMEMBERED)
def _route(route: Route) -> dict[str, Any]:
    return {
        "id": str(route.id),
        "name": route.name,
        "service": None if route.service_id is None else {"id": str(route.service_id)},
        "strip_path": route.strip_path,
        "preserve_host": route.preserve_host,
        "path_handling": route.path_handling,
        "https_redirect_status_code": route.https_redirect_status_code,
        "request_buffering": route.request_buffering,
        "response_buffering": route.response_buffering,
    }


@lru_cache(_REMEMBERED)
def _service(service: Service) -> dict[str, Any]:
    return {
        "id": str(service.id),
        "name": service.name,
        "protocol": service.protocol,
        "host": service.host,
        "port": service.direct.port,
        "path": _text(service.path) or None,
        "retries": service.retries,
        "connect_timeout": int(service.connect_timeout_s * 1000),
        "write_timeout": int(service.write_timeout_s * 1000),
        "read_timeout": int(service.read_timeout_s * 1000),
        "enabled": service.enabled,
    }


def _consumer(consumer: Consumer) -> dict[str, Any]:
    found = {"username": consumer.username, "custom_id": consumer.custom_id}
    return {"id": str(consumer.id)} | {name: text for name, text in found.items() if text}


def _request_headers(lines: bytes, key: str | None) -> Mapping[str, str | list[str]]:
    """Return what is told of request headers; many requests have the same."""
    return (_remembered if len(lines) <= _REMEMBERED_BYTES else _headers)(lines, key)


def _headers(lines: bytes, key: str | None) -> Mapping[str, str | list[str]]:
    """Return headers by their names in small letters; one that is repeated has a list."""
    found: dict[str, str | list[str]] = {}
    for name, value in _HEADER.findall(_text(lines)):
        lower = name.lower()
        is_secret = lower in _SECRET or value.rstrip(" \t") == key or _TOKEN.search(value)
        _add(found, lower, _REDACTED if is_secret else value)
    return found


_remembered = lru_cache(_REMEMBERED)(_headers)


def _arguments(query: str) -> dict[str, Any]:
    """Return the arguments of a query; those without a value are true."""
    found: dict[str, Any] = {}
    for part in query.split("&", MOST_ARGUMENTS)[:MOST_ARGUMENTS]:
        if part:
            name, sign, value = part.partition("=")
            _add(found, unquote_plus(name), unquote_plus(value) if sign else True)
    return found


def _add(found: dict[str, Any], name: str, value: str | bool) -> None:
    if name not in found:
        found[name] = value
    elif isinstance(before := found[name], list):
        before.append(value)
    else:
        found[name] = [before, value]


def _key_of(credential: Credential | None) -> str | None:
    """Return the key that a request was let in by."""
    if credential is None or credential.kind != "keyauth_credentials":
        return None
    return credential.name


def without_key(target: str, credential: Credential | None) -> str:
    """Return a path with its query, arguments redacted that let the request in, or may elsewhere.

    The latter are tokens: jwt takes them from the query, unless it is told not to.
    """
    path, mark, query = target.partition("?")
    if not query:
        return target
    key = _key_of(credential)
    return path + mark + "&".join([_shown(part, key) for part in query.split("&")])


def _shown(part: str, key: str | None) -> str:
    name, _, value = part.partition("=")
    is_secret = _TOKEN.search(value) or (key is not None and unquote_plus(value) == key)
    return f"{name}={_REDACTED}" if is_secret else part


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

"""The access log as JSON: a compact form of Kong's log record (proxying.md section 15).

Of headers it tells only those that are known to hold no secrets, and of those that always do, that
they were there: which header carries a key is up to each API, so that all others stay out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted

from gateway.access_log.record import Record, TlsFacts, Try
from gateway.settings import Compat
from gateway.snapshot import Route, Service

_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})
_SHOWN_HEADER = re.compile(
    rb"(?i)\r\n(host|user-agent|referer|origin|accept|content-type|content-length|content-encoding"
    rb"|x-forwarded-for|cache-control|retry-after"
    rb"|authorization|proxy-authorization|cookie|set-cookie):[ \t]*+([^\r]*+)"
)

_REMEMBERED = 512
_REMEMBERED_BYTES = 2048


class JsonLines:
    """Writes records as JSON objects, a line each."""

    def __init__(self, compat: Compat) -> None:
        self._own = "kong" if compat is Compat.KONG else "gateway"

    def line(self, record: Record) -> bytes:
        """Return the line of a request."""
        return f"{{{','.join(self._members(record))}}}\n".encode("ascii")

    def _members(self, record: Record) -> Iterator[str]:
        yield f'"started_at":{record.started_at * 1000:.0f}'
        yield f'"client_ip":{_text(record.client)}'
        yield f'"request":{{{",".join(_request(record))}}}'
        yield (
            f'"response":{{"status":{record.status},"size":{record.response_bytes},'
            f'"headers":{_shown_headers(record.response_head)}}}'
        )
        yield (
            f'"latencies":{{"request":{record.total_ms:.0f},"{self._own}":{record.own_ms:.0f},'
            f'"proxy":{record.upstream_ms:.0f},"receive":{record.receive_ms:.0f}}}'
        )
        if record.tries:
            yield f'"tries":[{",".join(map(_try, record.tries))}]'
        yield f'"upstream_uri":{_text(record.upstream_uri)}'
        yield f'"upstream_status":"{_upstream_status(record)}"'
        if record.route is not None:
            yield f'"route":{_entity(record.route)}'
        if record.service is not None:
            yield f'"service":{_entity(record.service)}'
        yield f'"source":"{"upstream" if record.from_upstream else self._own}"'


def _request(record: Record) -> Iterator[str]:
    yield f'"id":{_text(record.request_id)},"method":{_text(record.method)}'
    yield f'"uri":{_text(record.target)}'
    if record.origin:
        yield f'"url":{_text(record.origin + record.target)}'
    yield f'"size":{record.request_bytes},"headers":{_request_headers(record.request_lines)}'
    if record.tls is not None:
        yield f'"tls":{_tls(record.tls)}'


def _tls(tls: TlsFacts) -> str:
    name = "" if tls.server_name is None else f',"sni":{_text(tls.server_name)}'
    return f'{{"version":{quoted(tls.version)},"cipher":{quoted(tls.cipher)}{name}}}'


def _try(attempt: Try) -> str:
    failure = f',"state":"failed","code":{attempt.status}' if attempt.status else ""
    return (
        f'{{"balancer_start":{attempt.started_at * 1000:.0f},"ip":{quoted(attempt.address)},'
        f'"port":{attempt.port}{failure}}}'
    )


def _upstream_status(record: Record) -> str:
    return ", ".join(str(attempt.status or record.status) for attempt in record.tries)


@lru_cache(_REMEMBERED)
def _entity(entity: Route | Service) -> str:
    name = "null" if entity.name is None else quoted(entity.name)
    return f'{{"id":"{entity.id}","name":{name}}}'


def _request_headers(lines: bytes) -> str:
    return _remembered(lines) if len(lines) <= _REMEMBERED_BYTES else _shown_headers(lines)


def _shown_headers(lines: bytes) -> str:
    shown: dict[bytes, bytes] = {}
    for name, value in _SHOWN_HEADER.findall(lines):
        name = name.lower()  # noqa: PLW2901 - it is the same name
        if name in _SECRET:
            shown[name] = b"REDACTED"
        else:
            shown[name] = shown[name] + b", " + value if name in shown else value
    return f"{{{','.join(f'{_text(name)}:{_text(value)}' for name, value in shown.items())}}}"


_remembered = lru_cache(_REMEMBERED)(_shown_headers)


def _text(value: bytes) -> str:
    """Return bytes as a JSON string; what is not UTF-8 is told in hexadecimal."""
    return quoted(value.decode("utf-8", "backslashreplace"))

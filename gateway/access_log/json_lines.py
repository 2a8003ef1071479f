"""The access log as JSON: a compact form of Kong's log record (proxying.md section 15).

Of headers it tells only those that are known to hold no secrets, and of those that always do, that
they were there: which header carries a key is up to each API, so all others stay out.
"""

from __future__ import annotations

import re
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted

from gateway.access_log.record import Record, TlsFacts, Try
from gateway.settings import Compat
from gateway.snapshot import Route, Service

_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})
_OF_REQUESTS = re.compile(
    rb"(?i)\r\n(host|user-agent|referer|origin|accept|content-type|content-length|x-forwarded-for"
    rb"|authorization|proxy-authorization|cookie):[ \t]*+([^\r]*+)"
)
_OF_RESPONSES = re.compile(
    rb"(?i)\r\n(?=[crs])(content-type|content-length|content-encoding|cache-control|retry-after"
    rb"|set-cookie):[ \t]*+([^\r]*+)"
)

_LINE = (
    '{"started_at":%%d,"client_ip":%%s,'
    '"request":{"id":%%s,"method":%%s,"uri":%%s%%s,"size":%%d,"headers":%%s%%s},'
    '"response":{"status":%%d,"size":%%d,"headers":%%s},'
    '"latencies":{"request":%%d,"%s":%%d,"proxy":%%d,"receive":%%d},'
    '"upstream_uri":%%s,"upstream_status":"%%s"%%s%%s%%s,"source":"%%s"}\n'
)
"""Once the own name is filled in: a line, with places for whole members that may be missing."""

_REMEMBERED = 512
_REMEMBERED_BYTES = 2048


class JsonLines:
    """Writes records as JSON objects, a line each."""

    def __init__(self, compat: Compat) -> None:
        self._own = "kong" if compat is Compat.KONG else "gateway"
        self._line = _LINE % self._own

    def line(self, record: Record) -> bytes:
        """Return the line of a request."""
        line = self._line % (
            record.started_at * 1000,
            _text(record.client),
            _text(record.request_id),
            _text(record.method),
            _text(record.target),
            f',"url":{_text(record.origin + record.target)}' if record.origin else "",
            record.request_bytes,
            _request_headers(record.request_lines),
            "" if record.tls is None else f',"tls":{_tls(record.tls)}',
            record.status,
            record.response_bytes,
            _shown(_OF_RESPONSES, record.response_head),
            record.total_ms,
            record.own_ms,
            record.upstream_ms,
            record.receive_ms,
            _text(record.upstream_uri),
            ", ".join([str(attempt.status or record.status) for attempt in record.tries]),
            f',"tries":[{",".join(map(_try, record.tries))}]' if record.tries else "",
            "" if record.route is None else f',"route":{_entity(record.route)}',
            "" if record.service is None else f',"service":{_entity(record.service)}',
            "upstream" if record.from_upstream else self._own,
        )
        return line.encode("ascii")


def _tls(tls: TlsFacts) -> str:
    name = "" if tls.server_name is None else f',"sni":{_text(tls.server_name)}'
    return f'{{"version":{quoted(tls.version)},"cipher":{quoted(tls.cipher)}{name}}}'


def _try(attempt: Try) -> str:
    failure = f',"state":"failed","code":{attempt.status}' if attempt.status else ""
    return (
        f'{{"balancer_start":{int(attempt.started_at * 1000)},"ip":{quoted(attempt.address)},'
        f'"port":{attempt.port}{failure}}}'
    )


@lru_cache(_REMEMBERED)
def _entity(entity: Route | Service) -> str:
    name = "null" if entity.name is None else quoted(entity.name)
    return f'{{"id":"{entity.id}","name":{name}}}'


def _request_headers(lines: bytes) -> str:
    """Return what is told of request headers; many requests have the same."""
    return _remembered(lines) if len(lines) <= _REMEMBERED_BYTES else _shown(_OF_REQUESTS, lines)


@lru_cache(_REMEMBERED)
def _remembered(lines: bytes) -> str:
    return _shown(_OF_REQUESTS, lines)


def _shown(headers: re.Pattern[bytes], lines: bytes) -> str:
    """Return an object of those headers in ``lines`` that the pattern finds."""
    shown: dict[bytes, bytes] = {}
    for name, value in headers.findall(lines):
        key = name.lower()
        if key in _SECRET:
            shown[key] = b"REDACTED"
        else:
            shown[key] = shown[key] + b", " + value if key in shown else value
    return "{" + ",".join([f"{_text(key)}:{_text(value)}" for key, value in shown.items()]) + "}"


def _text(value: bytes) -> str:
    """Return bytes as a JSON string; what is not UTF-8 is told in hexadecimal."""
    return quoted(value.decode("utf-8", "backslashreplace"))

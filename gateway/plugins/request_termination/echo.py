"""What an echo tells: the request as the gateway saw it, and what it has matched."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from gateway.plugins.request import MOST_ARGUMENTS, BodyTooLarge, Request

if TYPE_CHECKING:
    from gateway.routing import Captures
    from gateway.snapshot import Route, Service

_HEADER = re.compile(rb"\r\n([^:]++):[ \t]*+([^\r]*+)")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


async def echo_of(request: Request) -> dict[str, Any]:
    """Return what there is to tell, ready for JSON. A body that is too large is left out."""
    raw_body = await _raw_body(request)
    found = _HOST.match(request.host)
    host, port = (request.host, None) if found is None else found.groups()
    return {
        "request": {
            "scheme": request.scheme,
            "host": host,
            "port": int(port) if port else _PORTS[request.scheme],
            "method": request.method,
            "path": request.path,
            "headers": _headers(request),
            "query": _plain(request.arguments()),
            "body": _parsed(raw_body, request.header("Content-Type") or ""),
            "raw_body": raw_body,
            "uri_captures": _captures(request.captures),
        },
        "matched_route": _route(request.route),
        "matched_service": _service(request.service),
    }


def written(told: dict[str, Any]) -> bytes:
    """Return an echo as JSON, without the request's body if that cannot be written again."""
    try:
        return json.dumps(told, allow_nan=False).encode()
    except (ValueError, RecursionError):  # numbers beyond all, or very many brackets
        told["request"]["body"] = None
        return json.dumps(told).encode()


async def _raw_body(request: Request) -> str | None:
    try:
        return (await request.body()).decode(errors="replace")
    except BodyTooLarge:
        return None


def _parsed(raw_body: str | None, content_type: str) -> Any:
    """Return what a body says; None for one that is neither JSON nor a plain form."""
    media_type = content_type.partition(";")[0].strip().lower()
    if raw_body and media_type == "application/json":
        try:
            return json.loads(raw_body)
        except (ValueError, RecursionError):
            return None
    if raw_body and media_type == "application/x-www-form-urlencoded":
        fields: dict[str, list[str]] = {}
        for name, value in parse_qsl(raw_body, keep_blank_values=True)[:MOST_ARGUMENTS]:
            fields.setdefault(name, []).append(value)
        return _plain(fields)
    return None


def _headers(request: Request) -> dict[str, Any]:
    headers: dict[str, list[str]] = {}
    for name, value in _HEADER.findall(request.asked.client_lines):
        headers.setdefault(name.decode().lower(), []).append(value.decode("latin-1").rstrip(" \t"))
    return _plain(headers)


def _plain(lists: Any) -> dict[str, Any]:
    """Return single values as such; of several, the list."""
    return {name: values[0] if len(values) == 1 else values for name, values in lists.items()}


def _captures(captures: Captures | None) -> dict[str, Any]:
    if captures is None:
        return {"named": {}, "unnamed": []}
    named = {name: _text(value) for name, value in captures.named.items()}
    return {"named": named, "unnamed": _texts(captures.numbered)}


def _texts(values: Sequence[bytes | None]) -> list[str | None]:
    return [_text(value) for value in values]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _route(route: Route | None) -> dict[str, Any] | None:
    if route is None:
        return None
    return {
        "id": str(route.id),
        "name": route.name,
        "strip_path": route.strip_path,
        "preserve_host": route.preserve_host,
        "service": None if route.service_id is None else {"id": str(route.service_id)},
    }


def _service(service: Service | None) -> dict[str, Any] | None:
    if service is None:
        return None
    return {
        "id": str(service.id),
        "name": service.name,
        "protocol": service.protocol,
        "host": service.host,
        "path": service.path.decode("latin-1"),
    }

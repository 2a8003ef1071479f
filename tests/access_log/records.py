"""Records of requests, with what a test does not name filled in."""

from __future__ import annotations

from typing import Any

from gateway.access_log import Record
from gateway.snapshot.compiled import compile_route, compile_service
from tests.snapshot.rows import route, service

STARTED_AT = 1_700_000_000.25
ID = b"0123456789abcdef0123456789abcdef"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n"

SERVICE_ROW = service(name="orders")
ROUTE_ROW = route(SERVICE_ROW, name="all", paths=["/"])
SERVICE = compile_service(SERVICE_ROW)
ROUTE = compile_route(ROUTE_ROW).payload


def record(**fields: Any) -> Record:
    """A request that was answered well by its upstream."""
    usual: dict[str, Any] = {
        "started_at": STARTED_AT,
        "client": b"192.0.2.1",
        "request_id": ID,
        "status": 200,
        "response_bytes": len(HEAD) + 2,
        "response_head": HEAD,
        "method": b"GET",
        "target": b"/a?b=c",
        "version": b"HTTP/1.1",
        "request_lines": b"\r\nHost: shop.test\r\nUser-Agent: curl/8",
        "request_bytes": 60,
        "origin": b"http://shop.test:8000",
        "route": ROUTE,
        "service": SERVICE,
        "upstream_uri": b"/v1/a?b=c",
        "from_upstream": True,
        "total_ms": 12.4,
        "own_ms": 0.6,
        "upstream_ms": 10.2,
        "receive_ms": 1.6,
    }
    return Record(**(usual | fields))

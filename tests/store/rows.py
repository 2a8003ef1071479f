"""Rows for tests: what must be given, and any column besides."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from gateway.entities import Row


def service(**columns: Any) -> Row:
    return {"id": uuid4(), "host": "example.test", **columns}


def route(service_id: UUID | None = None, **columns: Any) -> Row:
    return {"id": uuid4(), "paths": ["/"], "service_id": service_id, **columns}


def upstream(**columns: Any) -> Row:
    return {"id": uuid4(), "name": f"u-{uuid4()}", **columns}


def target(upstream_id: UUID, **columns: Any) -> Row:
    return {"id": uuid4(), "upstream_id": upstream_id, "target": "a.test:80", **columns}

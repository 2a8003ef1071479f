"""The Starlette app of the status listener: `/status`, `/status/ready`, `/metrics`."""

from __future__ import annotations

import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway import __version__
from gateway.metrics.exposition import CONTENT_TYPE, Exposition
from gateway.settings import Role
from gateway.status.facts import BadEntity, NodeFacts


def create_app(node: NodeFacts, exposition: Exposition) -> Starlette:
    """Return the app; it only reads, from memory."""

    async def status(_request: Request) -> Response:
        return JSONResponse(report(node))

    async def ready(_request: Request) -> Response:
        reason = why_not_ready(node)
        if reason is None:
            return JSONResponse({"message": "ready"})
        return JSONResponse({"message": reason}, status_code=503)

    async def metrics(_request: Request) -> Response:
        return StreamingResponse(exposition.render(), media_type=CONTENT_TYPE)

    return Starlette(
        routes=[
            Route("/status", status),
            Route("/status/ready", ready),
            Route("/metrics", metrics),
        ],
        exception_handlers={HTTPException: _plain_error},
    )


def why_not_ready(node: NodeFacts) -> str | None:
    """Return why traffic should not come here, None when it may.

    Ready means that a configuration has been loaded, that all listeners accept, and that the node
    is not stopping. A node that has lost the database stays ready: it serves what it knows, unless
    ``max_stale_s`` sets a limit.
    """
    if node.draining:
        return "draining"
    if node.starting:
        return "starting"
    if node.sync.applied is None:
        return "no configuration loaded yet"
    max_stale_s = node.settings.max_stale_s
    if max_stale_s and node.sync.stale_s() > max_stale_s:
        return f"not synced for longer than {max_stale_s:g} s"
    return None


def report(node: NodeFacts) -> dict[str, Any]:
    """Return what `/status` says: who the node is, what it serves from, what it is busy with."""
    return {
        "node": _node(node),
        "sync": _sync(node),
        "server": _server(node),
        "database": {"reachable": node.sync.state == "synced"},
        "disk_copy": _disk_copy(node),
        "bad_entities": [_bad(entity) for entity in node.bad_entities()],
    }


def _bad(entity: BadEntity) -> dict[str, str | None]:
    return {
        "entity": entity.kind,
        "id": entity.id,
        "name": entity.name,
        "reason": entity.reason,
    }


def _node(node: NodeFacts) -> dict[str, Any]:
    identity = node.identity
    return {
        "id": str(identity.id),
        "name": identity.name,
        "version": __version__,
        "started_at": identity.started_at.isoformat(),
        "proxy_address": identity.proxy_address,
        "admin_address": identity.admin_address,
        "status_address": identity.status_address,
        "ready": why_not_ready(node) is None,
    }


def _sync(node: NodeFacts) -> dict[str, Any]:
    sync = node.sync
    return {
        "strategy": sync.strategy,
        "state": sync.state,
        "source": _source(node),
        "epoch": None if sync.applied is None else str(sync.applied.epoch),
        "applied_version": None if sync.applied is None else sync.applied.version,
        "applied_committed_at": (
            None if sync.applied is None else sync.applied.committed_at.isoformat()
        ),
        "seen_version": sync.seen_version,
        "seconds_since_success": (
            None if sync.last_success is None else round(time.monotonic() - sync.last_success, 3)
        ),
        "last_error": sync.last_error,
        "last_apply_ms": _ms(sync.last_apply_s),
        "last_propagation_ms": _ms(sync.last_propagation_s),
        "strategy_restarts": sync.strategy_restarts,
        "strategy_problem": sync.strategy_problem,
    }


def _source(node: NodeFacts) -> str:
    """Return where the configuration that is served has come from."""
    if node.sync.loaded_from_disk:
        return "disk"
    return "control plane" if node.settings.role is Role.DATA_PLANE else "database"


def _disk_copy(node: NodeFacts) -> dict[str, Any] | None:
    copy = node.disk_copy
    if copy is None:
        return None
    return {
        "path": str(copy.path),
        "version": None if copy.mark is None else copy.mark.version,
        "problem": copy.problem,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _server(node: NodeFacts) -> dict[str, int]:
    counts = node.connections()
    return {
        "connections_accepted": counts.accepted,
        "connections_handled": counts.handled,
        "connections_active": counts.active,
        "connections_reading": counts.reading,
        "connections_writing": counts.writing,
        "connections_waiting": counts.waiting,
        "total_requests": counts.total_requests,
    }


async def _plain_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    message = "Not found" if error.status_code == 404 else error.detail
    return JSONResponse({"message": message}, status_code=error.status_code)

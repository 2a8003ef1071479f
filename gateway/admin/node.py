"""What the Admin API tells of the node that answers, and of its cluster.

Sheet: admin-api.md, section 8; `/cluster` is ours.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway import KONG_ADMIN_API_VERSION, __version__
from gateway.admin.errors import plain
from gateway.admin.query import parse_query
from gateway.admin.resource import Paths
from gateway.admin.responses import JsonResponse
from gateway.heartbeat import alive_for_s
from gateway.plugins import registry
from gateway.settings import NodeSettings, Role
from gateway.status.app import report
from gateway.status.facts import NodeFacts
from gateway.status.memory import DEFAULT_SCALE, DEFAULT_UNIT, memory
from gateway.store.errors import StoreUnavailable
from gateway.store.nodes import ClusterView, NodeRow
from gateway.store.overview import Overview
from gateway.store.store import Store

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class NodeResource:
    """``/``, ``/status`` and ``/cluster``."""

    def __init__(self, store: Store, node: NodeFacts) -> None:
        self._store = store
        self._overview = Overview(store)
        self._node = node

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        return {
            "/": {"GET": self.root},
            "/status": {"GET": self.status},
            "/cluster": {"GET": self.cluster},
        }

    async def root(self, request: Request) -> Response:
        """Say which node this is, what it speaks and how it is set."""
        del request
        return JsonResponse(
            {
                "tagline": "Welcome to gateway",
                "version": KONG_ADMIN_API_VERSION,
                "gateway": __version__,
                "edition": "community",
                "hostname": socket.gethostname(),
                "node_id": str(self._node.identity.id),
                "node_name": self._node.identity.name,
                "python_version": sys.version.split()[0],
                "timers": {"running": len(asyncio.all_tasks()), "pending": 0},
                "plugins": {
                    "available_on_server": available_plugins(),
                    "enabled_in_cluster": await self._plugins_in_use(),
                },
                "configuration": configuration(self._node.settings),
                "pids": {"master": os.getpid(), "workers": [os.getpid()]},
            }
        )

    async def status(self, request: Request) -> Response:
        """Say what the status listener says, the memory in use, and if the database answers now."""
        held = asked_memory(parse_query(request.scope["query_string"]))
        try:
            await self._store.cluster()
            reachable = True
        except StoreUnavailable:
            reachable = False
        now = {"memory": held, "database": {"reachable": reachable}}
        return JsonResponse(report(self._node) | now)

    async def cluster(self, request: Request) -> Response:
        """Say which nodes there are, how far each has got and what is unhealthy to it."""
        del request
        view = await self._store.cluster()
        alive_s = alive_for_s(self._node.settings)
        return JsonResponse(
            {
                "config_version": view.version,
                "epoch": str(view.epoch),
                "committed_at": view.committed_at.isoformat(),
                "answered_by": str(self._node.identity.id),
                "nodes": [_node(row, view, alive_s) for row in view.nodes],
            }
        )

    async def _plugins_in_use(self) -> list[str] | None:
        """Return what plugins entities name; None if the database does not say."""
        try:
            return await self._overview.plugins_in_use()
        except StoreUnavailable:
            return None


def available_plugins() -> dict[str, Any]:
    """Return the plugins that this node has, each with its version and priority."""
    return {
        name: {"version": plugin.version, "priority": plugin.priority}
        for name, plugin in sorted(registry.present().items())
    }


def asked_memory(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the memory in use, in the unit that is asked for. Raises an answer."""
    scale = query.get("scale", "")
    try:
        return memory(
            query.get("unit", DEFAULT_UNIT),
            int(scale) if _INTEGER.fullmatch(scale) else DEFAULT_SCALE,
        )
    except ValueError as error:
        raise plain(400, str(error)) from None


def configuration(settings: NodeSettings) -> dict[str, Any]:
    """Return all settings, secrets as asterisks, and what Kong's clients look for among them."""
    names = settings.listener_names()
    return {
        **settings.model_dump(mode="json"),
        "proxy_listeners": [
            _listener(settings, name) for name in ("proxy", "proxy_tls") if name in names
        ],
        "admin_listeners": [
            _listener(settings, name) for name in ("admin", "admin_tls") if name in names
        ],
        "status_listeners": [_listener(settings, "status")],
        "stream_listeners": [],
        "database": "postgres",
    }


def _listener(settings: NodeSettings, name: str) -> dict[str, Any]:
    host, port = getattr(settings, f"{name}_host"), getattr(settings, f"{name}_port")
    return {
        "listener": f"{host}:{port}",
        "ip": host,
        "port": port,
        "ssl": name.endswith("_tls"),
        "http2": False,
    }


def _node(row: NodeRow, view: ClusterView, alive_s: float) -> dict[str, Any]:
    applied = row.applied_version
    return {
        "id": str(row.id),
        "name": row.name,
        "proxy_address": row.proxy_address,
        "admin_address": row.admin_address,
        "status_address": row.status_address,
        "role": row.role,
        "strategy": row.strategy,
        "software_version": row.software_version,
        "started_at": row.started_at.isoformat(),
        "last_seen": row.last_seen_at.isoformat(),
        "last_seen_age_s": round(row.age_s, 3),
        "applied_version": applied,
        "lag": None if applied is None else max(0, view.version - applied),
        "alive": row.age_s <= alive_s,
        "health": _health(row),
    }


def _health(row: NodeRow) -> dict[str, Any] | None:
    """Return what a node told of its targets; None if it proxies nothing, or is too old to tell."""
    if row.role == Role.CONTROL_PLANE or not row.health:
        return None
    return {name: row.health.get(name) for name in ("checked", "unhealthy", "addresses")}

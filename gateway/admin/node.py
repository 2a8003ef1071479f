"""What the Admin API tells of the node that answers, and of its cluster.

Sheet: admin-api.md, section 8; `/cluster` is ours.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway import KONG_ADMIN_API_VERSION, __version__
from gateway.admin.resource import Paths
from gateway.admin.responses import JsonResponse
from gateway.heartbeat import alive_for_s
from gateway.settings import NodeSettings
from gateway.status.app import report
from gateway.status.facts import NodeFacts
from gateway.store.errors import StoreUnavailable
from gateway.store.nodes import ClusterView, NodeRow
from gateway.store.store import Store


class NodeResource:
    """``/``, ``/status`` and ``/cluster``."""

    def __init__(self, store: Store, node: NodeFacts) -> None:
        self._store = store
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
                "plugins": {"available_on_server": {}, "enabled_in_cluster": []},
                "configuration": configuration(self._node.settings),
                "pids": {"master": os.getpid(), "workers": [os.getpid()]},
            }
        )

    async def status(self, request: Request) -> Response:
        """Say what the status listener says, and whether the database answers now."""
        del request
        try:
            await self._store.cluster()
            reachable = True
        except StoreUnavailable:
            reachable = False
        return JsonResponse(report(self._node) | {"database": {"reachable": reachable}})

    async def cluster(self, request: Request) -> Response:
        """Say which nodes there are and how far each has got."""
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
    }

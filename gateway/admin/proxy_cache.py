"""What proxy-cache keeps: looked at on the node that answers, purged on all of them.

Sheet: plugins.md, section 5.16. A purge is a command, so it may be waited for and is in the audit
log. It is given also for a key that the answering node does not have: others may.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.actor import actor_of
from gateway.admin.commands import give
from gateway.admin.errors import not_found
from gateway.admin.resource import Paths, version_header
from gateway.admin.responses import JsonResponse
from gateway.entities.plugin import PLUGINS
from gateway.entities.types import parse_uuid
from gateway.plugins.proxy_cache import ProxyCache
from gateway.plugins.proxy_cache.store import PURGE, Entry, ResponseStore
from gateway.proxy.http1 import header_pairs
from gateway.settings import Role
from gateway.status.facts import NodeFacts
from gateway.store.store import Store

LARGEST_TOLD_BYTES = 65_536
"""Bodies that are larger are not told."""

_KEY = re.compile(r"[0-9a-f]{64}")


class ProxyCacheResource:
    """``/proxy-cache``, ``/proxy-cache/{key}`` and ``/proxy-cache/{plugin}/caches/{key}``."""

    def __init__(self, store: Store, node: NodeFacts) -> None:
        self._store = store
        self._node = node

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        of_one = {"GET": self.read, "DELETE": self.purge}
        return {
            "/proxy-cache": {"DELETE": self.purge_all},
            "/proxy-cache/{cache_key}": of_one,
            "/proxy-cache/{plugins}/caches/{cache_key}": of_one,
        }

    async def read(self, request: Request) -> Response:
        """Tell what this node keeps under a key."""
        plugin_id = await self._plugin_id(request)
        entry = self._find(_key(request), plugin_id)
        if entry is None:
            raise not_found()
        store = self._cache
        age_s = 0.0 if store is None else store.clock() - entry.made_at
        return JsonResponse(_told(entry, age_s) | {"node_id": str(self._node.identity.id)})

    async def purge(self, request: Request) -> Response:
        """Have all nodes forget what they keep under a key; 404 if this one has no such thing."""
        key, plugin_id = _key(request), await self._plugin_id(request)
        is_known = self._is_elsewhere or self._find(key, plugin_id) is not None
        headers = await self._purge(request, plugin_id, key)
        if is_known:
            return Response(status_code=204, headers=headers)
        return JsonResponse({"message": "Not found"}, 404, headers)

    async def purge_all(self, request: Request) -> Response:
        """Have all nodes forget everything."""
        return Response(status_code=204, headers=await self._purge(request, None, None))

    async def _purge(
        self, request: Request, plugin_id: UUID | None, key: str | None
    ) -> Mapping[str, str]:
        """Give the command; return the headers that tell its version."""
        async with self._store.write(actor_of(request)) as transaction:
            await give(transaction, PURGE, plugin_id, key=key)
        return version_header(transaction)

    async def _plugin_id(self, request: Request) -> UUID | None:
        """Return the plugin that the URL names, if it does. Raises an answer if it is none."""
        segment = request.path_params.get("plugins")
        if segment is None:
            return None
        plugin_id = parse_uuid(segment)
        if plugin_id is not None:
            async with self._store.read() as transaction:
                row = await transaction.find(PLUGINS.table, {"id": plugin_id})
            if row is not None and row["name"] == ProxyCache.name:
                return plugin_id
        raise not_found()

    def _find(self, key: str, plugin_id: UUID | None) -> Entry | None:
        return None if self._cache is None else self._cache.look_at(key.encode(), plugin_id)

    @property
    def _cache(self) -> ResponseStore | None:
        """What this node keeps, None as long as it has no such plugin."""
        shared = self._node.shared_by_plugin(ProxyCache.name)
        return shared if isinstance(shared, ResponseStore) else None

    @property
    def _is_elsewhere(self) -> bool:
        """Whether only other nodes serve requests, and keep anything."""
        return self._node.settings.role is Role.CONTROL_PLANE


def _key(request: Request) -> str:
    """Return the key of the URL. Raises an answer if it is none."""
    key: str = request.path_params["cache_key"]
    if _KEY.fullmatch(key) is None:
        raise not_found()
    return key


def _told(entry: Entry, age_s: float) -> dict[str, Any]:
    return {
        "status": entry.head.status,
        "headers": _headers(entry.head.text),
        "body": _text(entry.body),
        "body_len": len(entry.body),
        "timestamp": entry.timestamp,
        "ttl": round(entry.lifetime_s, 3),
        "age": round(age_s, 3),
        "plugin": {"id": str(entry.plugin_id)},
    }


def _headers(head: bytes) -> dict[str, list[str]]:
    """Return the headers of a head, each with its values."""
    _, _, lines = head.removesuffix(b"\r\n\r\n").partition(b"\r\n")
    found: dict[str, list[str]] = {}
    for name, value in header_pairs(b"\r\n" + lines):
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return found


def _text(body: bytes) -> str | None:
    """Return a body as text, None if it is none or too large."""
    if len(body) > LARGEST_TOLD_BYTES:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None

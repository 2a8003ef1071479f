"""What any control plane tells of all data planes of the cluster.

Sheet: cluster.md, section B3; ``applied_version``, ``lag`` and the like are ours.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.errors import plain
from gateway.admin.query import next_link, offset_after, page_size, page_start, parse_query
from gateway.admin.resource import Paths, path_as_sent
from gateway.admin.responses import JsonResponse, page_response
from gateway.hybrid.protocol import Applied, config_hash
from gateway.settings import NodeSettings, Role, named
from gateway.store.data_planes import DataPlaneRow, DataPlaneTable
from gateway.store.source import VersionMark

_PAGE = 1000


class ClusteringResource:
    """``/clustering/data-planes`` and ``/clustering/status``."""

    def __init__(self, table: DataPlaneTable, settings: NodeSettings) -> None:
        self._table = table
        self._is_control_plane = settings.role is Role.CONTROL_PLANE
        self._purge_delay_s = settings.data_plane_purge_delay_s

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        return {
            "/clustering/data-planes": {"GET": self.list_page},
            "/clustering/status": {"GET": self.status},
        }

    async def list_page(self, request: Request) -> Response:
        """Return one page of data planes, and the version they should serve."""
        self._check_role()
        query = parse_query(request.scope["query_string"])
        size, after = page_size(query), page_start(query)
        found = await self._table.page(size + 1, after)
        further: dict[str, Any] = {"next": None}
        if len(found.rows) > size:
            offset = offset_after(found.rows[size - 1].id)
            link = next_link(path_as_sent(request), offset, query, ("size",))
            further = {"next": link, "offset": offset}
        newest = found.newest
        further |= {"config_version": newest.version, "config_hash": _hash_of(newest)}
        return await page_response(
            found.rows[:size], lambda row: self._data_plane(row, newest), further
        )

    async def status(self, request: Request) -> Response:
        """Return the data planes by id, as old clients ask for them."""
        del request
        self._check_role()
        page = await self._table.page(_PAGE)
        rows = page.rows
        while len(page.rows) == _PAGE:
            page = await self._table.page(_PAGE, page.rows[-1].id)
            rows += page.rows
        body = {str(row.id): _summary(row, page.newest) for row in rows}
        return JsonResponse(body, headers={"Deprecation": "true"})

    def _check_role(self) -> None:
        if not self._is_control_plane:
            raise plain(
                400,
                "this endpoint is only available on a control plane, a node with "
                f"{named('role')} {Role.CONTROL_PLANE}",
            )

    def _data_plane(self, row: DataPlaneRow, newest: VersionMark) -> dict[str, Any]:
        applied, expires_at = row.applied_version, row.cert_expires_at
        return {
            "id": str(row.id),
            **_summary(row, newest),
            "version": row.software_version,
            "updated_at": int(row.last_seen_at.timestamp()),
            "sync_status": row.sync_status,
            "labels": row.labels,
            "cert_details": (
                {} if expires_at is None else {"expiry_timestamp": int(expires_at.timestamp())}
            ),
            "rpc_capabilities": [],
            "ttl": max(0, round(self._purge_delay_s - row.age_s)),
            "first_seen": int(row.first_seen_at.timestamp()),
            "last_seen_age_s": round(row.age_s, 3),
            "applied_version": applied,
            "lag": None if applied is None else max(0, newest.version - applied),
            "control_plane_id": str(row.control_plane_id),
            "health": row.health,
        }


def _summary(row: DataPlaneRow, newest: VersionMark) -> dict[str, Any]:
    applied = Applied.of(row.applied_version, row.applied_committed_at)
    return {
        "config_hash": config_hash(newest.epoch, applied),
        "hostname": row.name,
        "ip": row.ip,
        "last_seen": int(row.last_seen_at.timestamp()),
    }


def _hash_of(mark: VersionMark) -> str:
    return config_hash(mark.epoch, Applied.of(mark.version, mark.committed_at))

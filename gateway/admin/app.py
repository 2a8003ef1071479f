"""The Starlette app of the Admin API: its endpoints follow from the declared entities."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import KONG_ADMIN_API_VERSION, __version__
from gateway.admin.access.browsers import Browsers
from gateway.admin.access.doorkeeper import Doorkeeper
from gateway.admin.access.login import Login
from gateway.admin.audit import AuditResource
from gateway.admin.barrier import Barrier
from gateway.admin.certificates import CaCertificateRows, CertificateRows
from gateway.admin.clustering import ClusteringResource
from gateway.admin.config import ConfigResource
from gateway.admin.consumers import Consumers
from gateway.admin.credentials import AclRows, AclsOfConsumer
from gateway.admin.endpoint import Endpoint
from gateway.admin.errors import answer, not_found
from gateway.admin.filter_chains import filter_chain_paths
from gateway.admin.health import HealthResource, MarkResource
from gateway.admin.middleware import CommonHeaders, Introduction, SettledPath
from gateway.admin.node import NodeResource
from gateway.admin.openapi.resource import OpenApiResource
from gateway.admin.plugins import PluginRows, Plugins, PluginsOf
from gateway.admin.proxy_cache import ProxyCacheResource
from gateway.admin.resource import Children, Link, ParentOf, Paths, Resource
from gateway.admin.responses import JsonResponse
from gateway.admin.rows import Rows
from gateway.admin.schemas import SchemaResource
from gateway.admin.tags import TagResource
from gateway.admin.targets import Targets
from gateway.entities import ENTITIES
from gateway.entities.sni import SNIS
from gateway.entities.target import TARGETS
from gateway.heartbeat import alive_for_s
from gateway.settings import Compat, Role
from gateway.status.facts import NodeFacts
from gateway.store.admin_tokens import AdminTokens
from gateway.store.audit import AuditLog
from gateway.store.data_planes import DataPlaneTable
from gateway.store.overview import Overview
from gateway.store.store import Store


def create_app(store: Store, node: NodeFacts, tokens: AdminTokens | None = None) -> Starlette:
    """Return the app; it writes through ``store`` and tells what ``node`` knows.

    ``tokens`` are those of the store, given by who has looked at them before. Raises SettingError.
    """
    barrier = Barrier(store, alive_for_s(node.settings), node.sync.in_touch_s)
    paths = _entity_paths(store, node.settings.admin_body_limit_bytes)
    paths |= _health_paths(store, node)
    paths |= ProxyCacheResource(store, node).paths()
    paths |= NodeResource(store, node).paths()
    paths |= ConfigResource(node.settings).paths()
    paths |= TagResource(Overview(store)).paths()
    paths |= filter_chain_paths()
    paths |= ClusteringResource(DataPlaneTable(store), node.settings).paths()
    paths |= AuditResource(AuditLog(store)).paths()
    paths |= SchemaResource(node.settings.admin_body_limit_bytes).paths()
    paths |= OpenApiResource(paths).paths()
    paths |= _list_of(paths)
    browsers = Browsers(node.settings)
    doorkeeper = Doorkeeper(tokens or AdminTokens(store), browsers, node.settings)
    app = Starlette(
        routes=_routes(paths, node.settings.admin_timeout_s, barrier),
        middleware=[
            _common_headers(node.settings.compat, browsers),
            Middleware(Introduction),
            Middleware(SettledPath),
            Middleware(Login, doorkeeper=doorkeeper, timeout_s=node.settings.admin_timeout_s),
        ],
        exception_handlers={HTTPException: _unknown_path},
    )
    app.router.redirect_slashes = False
    return app


def _entity_paths(store: Store, body_limit_bytes: int) -> Paths:
    rows = {table: Rows(entity_type) for table, entity_type in ENTITIES.items()}
    special = (CertificateRows(), CaCertificateRows(), AclRows(), PluginRows())
    rows |= {kind.table: kind for kind in special}
    paths: Paths = {}
    for table, entity_type in ENTITIES.items():
        if entity_type is not TARGETS:
            resource = _RESOURCES.get(table, Resource)
            paths |= resource(store, rows[table], body_limit_bytes).paths()
        for field, foreign_key in entity_type.foreign_keys.items():
            link = Link(rows[table], field, rows[foreign_key.table])
            children = _CHILDREN.get(table, Children)
            paths |= children(store, link, body_limit_bytes).paths()
            if entity_type not in (TARGETS, SNIS):
                paths |= ParentOf(store, link, body_limit_bytes).paths()
    return paths


_RESOURCES: dict[str, type[Resource]] = {"consumers": Consumers, "plugins": Plugins}
_CHILDREN: dict[str, type[Children]] = {
    "acls": AclsOfConsumer,
    "plugins": PluginsOf,
    "targets": Targets,
}
"""The kinds of entities that are not quite like the others."""


def _health_paths(store: Store, node: NodeFacts) -> Paths:
    """Return the paths about health; a control plane has none to tell of, and may give marks."""
    paths = MarkResource(store).paths()
    if node.settings.role is not Role.CONTROL_PLANE:
        paths |= HealthResource(store, node).paths()
    return paths


def _list_of(paths: Paths) -> Paths:
    body = {"data": sorted([*paths, "/endpoints"], key=_by_segment)}

    async def endpoints(_request: Request) -> Response:
        return JsonResponse(body)

    return {"/endpoints": {"GET": endpoints}}


def _routes(paths: Paths, timeout_s: float, barrier: Barrier) -> list[Route]:
    """Return the routes, a fixed segment before a parameter in its place."""
    return [
        Route(path, Endpoint(paths[path], timeout_s, barrier))
        for path in sorted(paths, key=_by_segment)
    ]


def _by_segment(path: str) -> list[str]:
    return path.split("/")


def _common_headers(compat: Compat, browsers: Browsers) -> Middleware:
    if compat is Compat.KONG:
        server, latency_header = f"kong/{KONG_ADMIN_API_VERSION}", "X-Kong-Admin-Latency"
    else:
        server, latency_header = f"gateway/{__version__}", "X-Gateway-Admin-Latency"
    return Middleware(
        CommonHeaders, server=server, latency_header=latency_header, browsers=browsers
    )


async def _unknown_path(_request: Request, _error: Exception) -> Response:
    return answer(not_found())

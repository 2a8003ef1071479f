"""Plugins: their forms depend on which one it is, their protocols on what they are for.

Sheets: entities.md, 3.6; admin-api.md, section 5.1.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.body import is_form, read_fields
from gateway.admin.resource import Children, Paths, Resource
from gateway.admin.responses import JsonResponse
from gateway.admin.rows import Key, Rows, Where
from gateway.entities import Given, Row, SchemaViolationError
from gateway.entities.entity import Entity
from gateway.entities.plugin import NO_ROUTES, NOT_THE_ROUTES, PLUGINS
from gateway.entities.route import ROUTES
from gateway.plugins import registry
from gateway.store.transactions import Having, ReadTransaction, WriteTransaction


class PluginRows(Rows):
    """Plugins. Protocols that are given must be some that its route, or service, is used with."""

    def __init__(self) -> None:
        super().__init__(PLUGINS)

    async def insert(self, transaction: WriteTransaction, entity: Entity) -> Row:
        """Store a new plugin."""
        row = await super().insert(transaction, entity)
        return await _checked(transaction, row, entity.model_fields_set)

    async def upsert(self, transaction: WriteTransaction, key: Key, entity: Entity) -> Row:
        """Store the plugin in place of the named one, or as a new one."""
        row = await super().upsert(transaction, key, entity)
        return await _checked(transaction, row, entity.model_fields_set)

    async def patch(self, transaction: WriteTransaction, stored: Row, given: Given) -> Row:
        """Lay ``given`` over the stored row."""
        row = await super().patch(transaction, stored, given)
        return await _checked(transaction, row, given.keys())


async def _checked(transaction: ReadTransaction, row: Row, given: Collection[str]) -> Row:
    """Return the row that was written; what it raises undoes that."""
    if "protocols" in given and (problem := await _misfit(transaction, row)) is not None:
        raise SchemaViolationError({"protocols": problem})
    return row


async def _misfit(transaction: ReadTransaction, row: Row) -> str | None:
    """Return why a plugin's protocols do not go with what it is for, if they do not."""
    if row["route_id"] is not None:
        fits = await _some_route(transaction, {"id": row["route_id"]}, row["protocols"])
        return None if fits else NOT_THE_ROUTES
    if row["service_id"] is None:
        return None
    routes = {"service_id": row["service_id"]}
    fits = await _some_route(transaction, routes, row["protocols"])
    return None if fits or not await transaction.find(ROUTES.table, routes) else NO_ROUTES


async def _some_route(transaction: ReadTransaction, where: Where, protocols: list[str]) -> bool:
    """Tell whether one of these routes is for one of these protocols."""
    for protocol in protocols:
        if await transaction.find(ROUTES.table, {**where, "protocols": Having(protocol)}):
            return True
    return False


class _ByPlugin(Resource):
    """Reads forms by the config of the plugin that they are for, also if they do not name it."""

    async def _given(self, request: Request) -> Given:
        stored = None
        if request.method == "PATCH" and is_form(request):
            async with self._store.read() as transaction:
                stored = await self._rows.find(transaction, self._key(request), {})
        return await read_fields(request, self._type, self._body_limit_bytes, stored)


class Plugins(_ByPlugin):
    """``/plugins``, and which of them there could be."""

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        return super().paths() | {"/plugins/enabled": {"GET": self.list_enabled}}

    async def list_enabled(self, request: Request) -> Response:
        """Return the names of the plugins that this node has."""
        del request
        return JsonResponse({"enabled_plugins": sorted(registry.present())})


class PluginsOf(_ByPlugin, Children):
    """``/{parents}/{parent}/plugins``."""

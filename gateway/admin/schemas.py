"""Schemas of the entities and plugins, and validation without a write.

Sheet: admin-api.md, section 8 (Schemas).
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admin.body import read_fields
from gateway.admin.errors import plain
from gateway.admin.forms import decode_form
from gateway.admin.query import parse_query
from gateway.admin.resource import Paths
from gateway.admin.responses import JsonResponse
from gateway.admin.rows import validated
from gateway.entities import ENTITIES, EntityType
from gateway.entities.kong_schema import config_fields, entity_schema, plugin_schema
from gateway.plugins import registry


class SchemaResource:
    """``/schemas/…`` and ``/plugins/schema/{name}``."""

    def __init__(self, body_limit_bytes: int) -> None:
        self._body_limit_bytes = body_limit_bytes
        self._of_entities = {table: entity_schema(kind) for table, kind in ENTITIES.items()}

    def paths(self) -> Paths:
        """Return the handlers by path and method."""
        return {
            "/schemas/{entity}": {"GET": self.of_entity},
            "/schemas/{entity}/validate": {"POST": self.validate},
            "/schemas/plugins/{plugin}": {"GET": self.of_plugin},
            "/schemas/plugins/validate": {"POST": self.validate_plugin},
            "/plugins/schema/{plugin}": {"GET": self.of_plugin_config},
        }

    async def of_entity(self, request: Request) -> Response:
        """Return the schema of a kind of entity."""
        return JsonResponse(self._of_entities[_entity_type(request).table])

    async def of_plugin(self, request: Request) -> Response:
        """Return what is particular to the entities of one plugin."""
        return JsonResponse(plugin_schema(_plugin(request)))

    async def of_plugin_config(self, request: Request) -> Response:
        """Return the fields of a plugin's configuration, as old clients ask for them."""
        return JsonResponse({"fields": config_fields(_plugin(request))})

    async def validate(self, request: Request) -> Response:
        """Say whether an entity would be accepted, its references and uniqueness aside."""
        return await self._validated(request, _entity_type(request))

    async def validate_plugin(self, request: Request) -> Response:
        """Say the same of a plugin entity."""
        return await self._validated(request, ENTITIES["plugins"])

    async def _validated(self, request: Request, entity_type: EntityType) -> Response:
        query = parse_query(request.scope["query_string"])
        in_query = decode_form(entity_type.model_of(query), query.items())
        given = in_query | await read_fields(request, entity_type, self._body_limit_bytes, query)
        await validated(entity_type, entity_type.expand(given, "create"))
        return JsonResponse({"message": "schema validation successful"})


def _entity_type(request: Request) -> EntityType:
    name = request.path_params["entity"]
    if name not in ENTITIES:
        raise plain(404, f"No entity named '{name}'")
    return ENTITIES[name]


def _plugin(request: Request) -> registry.Plugin:
    name = request.path_params["plugin"]
    plugin = registry.present().get(name)
    if plugin is None:
        raise plain(404, f"No plugin named '{name}'")
    return plugin

"""Entities: each declared once; table, validation, Admin API and documents follow from it."""

from __future__ import annotations

from gateway.entities.ca_certificate import CA_CERTIFICATES
from gateway.entities.certificate import CERTIFICATES
from gateway.entities.command import COMMANDS
from gateway.entities.consumer import CONSUMERS
from gateway.entities.credentials import CREDENTIALS
from gateway.entities.entity import ForeignKey, Given, Operation, Reference
from gateway.entities.entity_type import EntityField, EntityType, FieldKind, Row
from gateway.entities.errors import SchemaViolationError
from gateway.entities.plugin import PLUGINS
from gateway.entities.route import ROUTES
from gateway.entities.service import SERVICES
from gateway.entities.sni import SNIS
from gateway.entities.target import TARGETS
from gateway.entities.upstream import UPSTREAMS

__all__ = [
    "ENTITIES",
    "VERSIONED",
    "EntityField",
    "EntityType",
    "FieldKind",
    "ForeignKey",
    "Given",
    "Operation",
    "Reference",
    "Row",
    "SchemaViolationError",
]

ENTITIES: dict[str, EntityType] = {
    entity.table: entity
    for entity in (
        CERTIFICATES,
        SNIS,
        CA_CERTIFICATES,
        SERVICES,
        ROUTES,
        UPSTREAMS,
        TARGETS,
        CONSUMERS,
        *CREDENTIALS,
        PLUGINS,
    )
}
"""Every kind of entity by table name, parents before their children."""

VERSIONED: dict[str, EntityType] = {**ENTITIES, COMMANDS.table: COMMANDS}
"""All that versions consist of: what users configure, and the commands they give."""

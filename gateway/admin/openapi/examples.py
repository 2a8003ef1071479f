"""One example of each entity, as a client would create it."""

from __future__ import annotations

from typing import Any

from gateway.entities.entity_type import EntityType
from gateway.entities.schema import Field, Kind, fields_of

ID = "5f3c6a1e-5e0b-4f0e-9d58-6c2b7a1d9e10"
OTHER_ID = "8a2d1f70-0d6c-4b53-8c1e-3f9a4e5b6c7d"
_MADE_AT = 1_718_000_000
_PEM = "-----BEGIN {0}-----\nMIIB…\n-----END {0}-----\n"

GIVEN: dict[str, dict[str, Any]] = {
    "services": {"name": "orders", "url": "http://orders.internal:9000/v2", "tags": ["shop"]},
    "routes": {"name": "orders-list", "paths": ["/orders"], "service": {"name": "orders"}},
    "upstreams": {"name": "orders-pool", "hash_on": "header", "hash_on_header": "X-Shop"},
    "targets": {"target": "10.0.8.1:9000", "weight": 50},
    "consumers": {"username": "bob"},
    "plugins": {"name": "key-auth", "service": {"name": "orders"}},
    "keyauth_credentials": {"key": "bobs-key"},
    "basicauth_credentials": {"username": "bob", "password": "correct horse battery staple"},
    "jwt_secrets": {"key": "bobs-issuer", "algorithm": "HS256"},
    "hmacauth_credentials": {"username": "bob"},
    "acls": {"group": "readers"},
    "certificates": {
        "cert": _PEM.format("CERTIFICATE"),
        "key": _PEM.format("PRIVATE KEY"),
        "snis": ["shop.example.com"],
    },
    "snis": {"name": "shop.example.com", "certificate": {"id": OTHER_ID}},
    "ca_certificates": {"cert": _PEM.format("CERTIFICATE")},
}
"""Bodies by table."""

_SHOWN = {"password": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"}
"""Fields that are not shown as they were given."""


def of(entity_type: EntityType) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the body that creates an entity, and what is answered."""
    given = GIVEN.get(entity_type.table, {})
    expanded = entity_type.model.expand(given, "create")
    expanded |= {name: text for name, text in _SHOWN.items() if name in expanded}
    fields = fields_of(entity_type.model)
    return given, {field.name: _answered(field, expanded.get(field.name)) for field in fields}


def key_of(entity_type: EntityType) -> str:
    """Return what a URL would call the example."""
    given = GIVEN.get(entity_type.table, {})
    return str(given.get(entity_type.endpoint_key or "id", ID))


def _answered(field: Field, value: Any) -> Any:
    if field.value.kind is Kind.FOREIGN:
        return {"id": OTHER_ID} if value or field.required else None
    if field.name == "id":
        return ID
    if field.value.is_timestamp:
        return _MADE_AT
    if value is None:
        return "wJalrXUtnFEMIK7MDENGbPxRfiCYzEXA" if field.auto else field.default
    return value

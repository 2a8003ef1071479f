"""Rows as the Admin API stores them, and the loads that bring them to a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from gateway.entities import ENTITIES, Row
from gateway.snapshot import KeyPair
from gateway.store.source import Batch, Load, VersionMark

EPOCH = uuid4()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(table: str, **given: Any) -> Row:
    """The row of an entity, with all defaults."""
    entity_type = ENTITIES[table]
    return entity_type.to_row(entity_type.validate(entity_type.expand(given, "create")))


def service(**given: Any) -> Row:
    return row("services", **({"host": "127.0.0.1"} | given))


def route(service: Row | None, **given: Any) -> Row:
    if service is not None:
        given["service"] = {"id": str(service["id"])}
    return row("routes", **given)


def upstream(name: str, **given: Any) -> Row:
    return row("upstreams", name=name, **given)


def target(upstream: Row, address: str, **given: Any) -> Row:
    return row("targets", upstream={"id": str(upstream["id"])}, target=address, **given)


def certificate(pair: KeyPair, **given: Any) -> Row:
    return row("certificates", cert=pair.cert_pem, key=pair.key_pem, **given)


def sni(name: str, certificate: Row, **given: Any) -> Row:
    return row("snis", name=name, certificate={"id": str(certificate["id"])}, **given)


def ca_certificate(pem: str, **given: Any) -> Row:
    return row("ca_certificates", cert=pem, **given)


def consumer(**given: Any) -> Row:
    return row("consumers", **({"username": "bob"} | given))


def credentials(consumer: Row) -> dict[str, list[Row]]:
    """One credential of each kind, by table."""
    whose = {"id": str(consumer["id"])}
    given: dict[str, dict[str, Any]] = {
        "keyauth_credentials": {"ttl": 60},
        "basicauth_credentials": {"username": "bob", "password": "secret"},
        "jwt_secrets": {},
        "hmacauth_credentials": {"username": "bob"},
        "acls": {"group": "admins"},
    }
    return {table: [row(table, consumer=whose, **fields)] for table, fields in given.items()}


def plugin(name: str, **columns: Any) -> Row:
    """A use of a plugin that need not be present, as another node may have stored it."""
    defaults = {field.column: field.default for field in ENTITIES["plugins"].fields.values()}
    auto = {"id": uuid4(), "created_at": NOW, "updated_at": NOW, "config": {}}
    return defaults | auto | {"name": name} | columns


def full_load(tables: Mapping[str, list[Row]], version: int = 1) -> Load:
    """All there is."""
    return _load("full", version, (Batch(t, tables[t], []) for t in ENTITIES if t in tables))


def change_load(
    tables: Mapping[str, list[Row]],
    deleted: Mapping[str, list[UUID]] | None = None,
    version: int = 2,
) -> Load:
    """Rows created or updated, and ids deleted, since the version before."""
    gone = deleted or {}
    return _load(
        "changes",
        version,
        (Batch(t, tables.get(t, []), gone.get(t, [])) for t in ENTITIES if t in {*tables, *gone}),
    )


def _load(kind: Any, version: int, batches: Iterable[Batch]) -> Load:
    return Load(kind, VersionMark(EPOCH, version, NOW), NOW, NOW, _each(batches))


async def _each(batches: Iterable[Batch]) -> AsyncIterator[Batch]:
    for batch in batches:
        yield batch

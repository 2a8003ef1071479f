"""The tables: one per entity, derived from its declaration, and the store's own.

Names of constraints follow PostgreSQL's habit (``routes_service_id_fkey``), so that errors can be
told apart by them. The migrations under ``alembic/`` are written by hand; a test holds them and
this file together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from gateway.entities import ENTITIES, VERSIONED, EntityField, EntityType, FieldKind

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

_timestamp = TIMESTAMP(timezone=True)

_COLUMN_TYPES: dict[FieldKind, TypeEngine[Any]] = {
    FieldKind.UUID: Uuid(),
    FieldKind.REFERENCE: Uuid(),
    FieldKind.TEXT: Text(),
    FieldKind.BOOLEAN: Boolean(),
    FieldKind.INTEGER: BigInteger(),
    FieldKind.NUMBER: Double(),
    FieldKind.TEXTS: ARRAY(Text()),
    FieldKind.JSON: JSONB(none_as_null=True),
    FieldKind.TIMESTAMP: _timestamp,
    FieldKind.EXPIRY: _timestamp,
}


_MADE_BY_SERVER = {
    FieldKind.UUID: text("gen_random_uuid()"),
    FieldKind.TIMESTAMP: text("now()"),
    FieldKind.JSON: text("'{}'"),
}


def _entity_table(entity: EntityType) -> Table:
    columns = (_column(field) for field in entity.fields.values())
    return Table(entity.table, metadata, *columns, *_constraints(entity), *_indexes(entity))


def _column(field: EntityField) -> Column[Any]:
    return Column(
        field.column,
        _COLUMN_TYPES[field.kind],
        primary_key=field.name == "id",
        nullable=field.nullable,
        unique=field.unique,
        server_default=_server_default(field),
    )


def _server_default(field: EntityField) -> Any:
    """Return what hand-made SQL may leave out, as the API lets it be left out."""
    if field.auto:
        return _MADE_BY_SERVER.get(field.kind)
    match field.default:
        case None:
            return None
        case bool() | int():
            return text(str(field.default).lower())
        case str():
            return field.default
        case list() if field.kind is FieldKind.TEXTS:
            return "{" + ",".join(field.default) + "}"
        case _:
            return None


def _constraints(entity: EntityType) -> Iterator[SchemaItem]:
    for field in entity.fields.values():
        if field.references:
            key = f"{field.references.table}.id"
            yield ForeignKeyConstraint(
                [field.column], [key], ondelete=field.references.on_delete.upper()
            )
    for fields in entity.composite_uniques:
        members = [entity.fields[name] for name in fields]
        yield UniqueConstraint(
            *(field.column for field in members),
            postgresql_nulls_not_distinct=any(field.nullable for field in members) or None,
        )


def _indexes(entity: EntityType) -> Iterator[SchemaItem]:
    for field in entity.fields.values():
        if field.references:
            yield Index(None, field.column, "id")
        if field.kind is FieldKind.EXPIRY:
            yield Index(None, field.column)
    yield Index(None, "tags", postgresql_using="gin")


VERSIONED_TABLES: dict[str, Table] = {
    kind.table: _entity_table(kind) for kind in VERSIONED.values()
}
"""Tables whose rows belong to versions by name, parents before their children."""

ENTITY_TABLES: dict[str, Table] = {name: VERSIONED_TABLES[name] for name in ENTITIES}
"""Those of them that users configure."""

config_version = Table(
    "config_version",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("epoch", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    Column("committed_at", _timestamp, nullable=False, server_default=text("clock_timestamp()")),
    Column("written_by", BigInteger),
    CheckConstraint("singleton", name="singleton"),
)
"""The single row that every write transaction locks, and that every node asks for.

``written_by`` is set only inside a transaction that has taken a version, never in a committed row.
"""

change_sets = Table(
    "change_sets",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("committed_at", _timestamp, nullable=False),
)
"""One row per version in the log, with the time of its commit."""

changes = Table(
    "changes",
    metadata,
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("entity_id", Uuid, nullable=False),
    Column("operation", Text, nullable=False),
    PrimaryKeyConstraint("version", "kind", "entity_id"),
)
"""What each version changed. ``kind`` is the entity's table; operations: create, update, delete."""

nodes = Table(
    "nodes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("proxy_address", Text, nullable=False),
    Column("admin_address", Text, nullable=False),
    Column("status_address", Text, nullable=False),
    Column("started_at", _timestamp, nullable=False),
    Column("last_seen_at", _timestamp, nullable=False),
    Column("applied_version", BigInteger),
    Column("strategy", Text, nullable=False),
    Column("software_version", Text, nullable=False),
    Column("role", Text, nullable=False, server_default="traditional"),
    Column("applied_committed_at", _timestamp),
    Column("health", JSONB),
)
"""Nodes as they last reported themselves, times by the database's clock except ``started_at``.

``health`` tells of unhealthy addresses, in few words; nodes of an older release do not.
``applied_committed_at`` is when the applied version was committed: a database restored from a
backup gives the same numbers out again, and only the time tells the two apart.
"""

data_planes = Table(
    "data_planes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("ip", Text, nullable=False),
    Column("software_version", Text, nullable=False),
    Column("first_seen_at", _timestamp, nullable=False),
    Column("last_seen_at", _timestamp, nullable=False),
    Column("applied_version", BigInteger),
    Column("applied_committed_at", _timestamp),
    Column("sync_status", Text, nullable=False),
    Column("labels", JSONB, nullable=False),
    Column("cert_expires_at", _timestamp),
    Column("control_plane_id", Uuid, nullable=False),
    Column("health", JSONB(none_as_null=True)),
)
"""Data planes as they last reported to a control plane, seen times by the database's clock.

``control_plane_id`` is the node that wrote the row last.
"""

probe_reports = Table(
    "probe_reports",
    metadata,
    Column("upstream_id", Uuid, primary_key=True),
    Column("host", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("node_id", Uuid, primary_key=True),
    Column("report", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("streak", Integer, nullable=False),
    Column("reported_at", _timestamp, nullable=False, index=True),
    prefixes=["UNLOGGED"],
)
"""What the last probe of an address by a node has found, for nodes that do not probe it themselves.

``number`` counts the node's probes of the address, ``streak`` those in a row that found the same.
``reported_at`` is by the database's clock. What is lost in a crash is old a second later.
"""

admin_tokens = Table(
    "admin_tokens",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", _timestamp, nullable=False, server_default=text("clock_timestamp()")),
    Column("expires_at", _timestamp),
    Column("last_used_at", _timestamp),
    Column("revoked_at", _timestamp),
    CheckConstraint("role IN ('admin', 'read-only')", name="role"),
    Index(
        "admin_tokens_name_idx", "name", unique=True, postgresql_where=text("revoked_at IS NULL")
    ),
)
"""Who may use the Admin API. ``hash`` is the SHA-256 of the token; the token itself is not kept.

Those revoked stay: as long as there is any row, the Admin API asks for a token.
"""

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("version", BigInteger),
    Column("kind", Text, nullable=False),
    Column("entity_id", Uuid, nullable=False),
    Column("operation", Text, nullable=False),
    Column("occurred_at", _timestamp, nullable=False, server_default=text("clock_timestamp()")),
    Column("token", Text),
    Column("address", Text),
    Column("request_id", Text),
    Column("db_role", Text, nullable=False, server_default=text("SESSION_USER")),
    Column("changed", ARRAY(Text())),
    Column("before", JSONB),
    Column("after", JSONB),
    *(
        Index(f"audit_{column}_occurred_at_idx", column, "occurred_at")
        for column in ("kind", "entity_id", "operation", "token", "address")
    ),
    *(Index(f"audit_{column}_idx", column) for column in ("version", "request_id", "occurred_at")),
)
"""Who changed what: written by the triggers of the entity tables, secrets as asterisks.

``version`` is null for changes that are no configuration. ``changed`` has, for an update, the names
of the columns that differ, secret ones among them.
``token`` is the name of the one used, ``address`` the client's; all three of the request are null
for SQL by hand, of which ``db_role`` tells.
"""

rate_limit_counters = Table(
    "rate_limit_counters",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("starts_at", _timestamp, nullable=False),
    Column("ends_at", _timestamp, nullable=False),
    Column("used", BigInteger, nullable=False),
)
"""What somebody has used in a window of a limit. ``id`` is a digest of whose it is and which."""

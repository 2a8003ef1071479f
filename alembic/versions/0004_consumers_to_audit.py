"""Consumers, credentials, plugins; who may use the Admin API; who changed what.

The audit log is written where the change log is, by the same triggers: so it has what cascades
removed and what SQL by hand did. It only grows: an entity that a transaction changes twice is in it
twice. Who asked is what the transaction says in ``gateway.actor``, as JSON. The columns whose
values are secret are replaced by asterisks before anything is kept, all that remains of a change is
the column's name in ``changed``; a column that becomes secret needs a migration of
`gateway_secret_columns`.

Nodes of the release before pass over the new tables, and write without an actor.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ENTITY_TABLES = (
    "consumers",
    "keyauth_credentials",
    "basicauth_credentials",
    "jwt_secrets",
    "hmacauth_credentials",
    "acls",
    "plugins",
)

TIMESTAMP = sa.TIMESTAMP(timezone=True)
TEXTS = postgresql.ARRAY(sa.Text())
JSONB = postgresql.JSONB()


def upgrade() -> None:
    create_audit()
    create_admin_tokens()
    create_consumers()
    create_credentials()
    create_plugins()
    for table in ENTITY_TABLES:
        op.create_index(f"{table}_tags_idx", table, ["tags"], postgresql_using="gin")
        op.execute(f"SELECT gateway_track_changes('{table}')")


def downgrade() -> None:
    op.execute(_LOG_CHANGES.format(audit=""))
    op.execute("DROP FUNCTION gateway_changed(jsonb, jsonb)")
    op.execute("DROP FUNCTION gateway_masked(jsonb, text[])")
    op.execute("DROP FUNCTION gateway_secret_columns(text)")
    for table in (*reversed(ENTITY_TABLES), "admin_tokens", "audit"):
        op.drop_table(table)


def required(name: str, type_: sa.types.TypeEngine, default: str | None = None) -> sa.Column:
    """A column that is never null."""
    return sa.Column(name, type_, nullable=False, server_default=default and sa.text(default))


def optional(name: str, type_: sa.types.TypeEngine) -> sa.Column:
    """A column that may be null."""
    return sa.Column(name, type_)


def entity_columns() -> list[sa.Column]:
    """The columns that every entity has."""
    return [
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()")),
        required("created_at", TIMESTAMP, "now()"),
        optional("tags", TEXTS),
    ]


def unique(table: str, *columns: str) -> sa.UniqueConstraint:
    """No two rows have the same values."""
    return sa.UniqueConstraint(*columns, name=f"{table}_{'_'.join(columns)}_key")


def reference(table: str, parents: str, column: str) -> sa.ForeignKeyConstraint:
    """A row goes with its parent."""
    return sa.ForeignKeyConstraint(
        [column], [f"{parents}.id"], name=f"{table}_{column}_fkey", ondelete="CASCADE"
    )


def index_reference(table: str, column: str) -> None:
    op.create_index(f"{table}_{column}_id_idx", table, [column, "id"])


# -- entities


def create_consumers() -> None:
    op.create_table(
        "consumers",
        *entity_columns(),
        required("updated_at", TIMESTAMP, "now()"),
        optional("username", sa.Text()),
        optional("custom_id", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="consumers_pkey"),
        unique("consumers", "username"),
        unique("consumers", "custom_id"),
    )


def create_credentials() -> None:
    create_credential(
        "keyauth_credentials",
        required("key", sa.Text()),
        optional("expires_at", TIMESTAMP),
        unique("keyauth_credentials", "key"),
    )
    op.create_index("keyauth_credentials_expires_at_idx", "keyauth_credentials", ["expires_at"])
    create_credential(
        "basicauth_credentials",
        required("username", sa.Text()),
        required("password", sa.Text()),
        unique("basicauth_credentials", "username"),
    )
    create_credential(
        "jwt_secrets",
        required("key", sa.Text()),
        required("secret", sa.Text()),
        optional("rsa_public_key", sa.Text()),
        required("algorithm", sa.Text(), "'HS256'"),
        unique("jwt_secrets", "key"),
    )
    create_credential(
        "hmacauth_credentials",
        required("username", sa.Text()),
        required("secret", sa.Text()),
        unique("hmacauth_credentials", "username"),
    )
    create_credential(
        "acls",
        required("group", sa.Text()),
        unique("acls", "consumer_id", "group"),
    )


def create_credential(table: str, *items: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        *entity_columns(),
        required("consumer_id", sa.Uuid()),
        *items,
        sa.PrimaryKeyConstraint("id", name=f"{table}_pkey"),
        reference(table, "consumers", "consumer_id"),
    )
    index_reference(table, "consumer_id")


def create_plugins() -> None:
    parents = {"route_id": "routes", "service_id": "services", "consumer_id": "consumers"}
    op.create_table(
        "plugins",
        *entity_columns(),
        required("updated_at", TIMESTAMP, "now()"),
        required("name", sa.Text()),
        optional("instance_name", sa.Text()),
        *(optional(column, sa.Uuid()) for column in parents),
        required("config", JSONB, "'{}'"),
        required("protocols", TEXTS, "'{grpc,grpcs,http,https}'"),
        required("enabled", sa.Boolean(), "true"),
        sa.PrimaryKeyConstraint("id", name="plugins_pkey"),
        unique("plugins", "instance_name"),
        sa.UniqueConstraint(
            "name",
            "route_id",
            "service_id",
            "consumer_id",
            name="plugins_name_route_id_service_id_consumer_id_key",
            postgresql_nulls_not_distinct=True,
        ),
        *(reference("plugins", table, column) for column, table in parents.items()),
    )
    for column in parents:
        index_reference("plugins", column)


# -- access and audit


def create_admin_tokens() -> None:
    op.create_table(
        "admin_tokens",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()")),
        required("name", sa.Text()),
        required("role", sa.Text()),
        required("hash", sa.LargeBinary()),
        required("created_at", TIMESTAMP, "clock_timestamp()"),
        optional("expires_at", TIMESTAMP),
        optional("last_used_at", TIMESTAMP),
        optional("revoked_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name="admin_tokens_pkey"),
        unique("admin_tokens", "hash"),
        sa.CheckConstraint("role IN ('admin', 'read-only')", name="admin_tokens_role_check"),
    )
    op.create_index(
        "admin_tokens_name_idx",
        "admin_tokens",
        ["name"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )


def create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True)),
        optional("version", sa.BigInteger()),
        required("kind", sa.Text()),
        required("entity_id", sa.Uuid()),
        required("operation", sa.Text()),
        required("occurred_at", TIMESTAMP, "clock_timestamp()"),
        optional("token", sa.Text()),
        optional("address", sa.Text()),
        optional("request_id", sa.Text()),
        required("db_role", sa.Text(), "SESSION_USER"),
        optional("changed", TEXTS),
        optional("before", JSONB),
        optional("after", JSONB),
        sa.PrimaryKeyConstraint("id", name="audit_pkey"),
    )
    for column in ("kind", "entity_id", "operation", "token", "address"):
        op.create_index(f"audit_{column}_occurred_at_idx", "audit", [column, "occurred_at"])
    for column in ("version", "request_id", "occurred_at"):
        op.create_index(f"audit_{column}_idx", "audit", [column])
    create_audit_functions()
    op.execute(_LOG_CHANGES.format(audit=_AUDIT))


def create_audit_functions() -> None:
    # They look into no table and are called by the triggers only, so they need no search_path of
    # their own, which would cost more than all that they do.
    op.execute("""
        CREATE FUNCTION gateway_secret_columns(kind text) RETURNS text[]
        LANGUAGE sql IMMUTABLE AS $$
            SELECT CASE kind
                WHEN 'certificates' THEN ARRAY['key', 'key_alt']
                WHEN 'keyauth_credentials' THEN ARRAY['key']
                WHEN 'basicauth_credentials' THEN ARRAY['password']
                WHEN 'jwt_secrets' THEN ARRAY['secret']
                WHEN 'hmacauth_credentials' THEN ARRAY['secret']
            END
        $$
    """)
    op.execute("""
        CREATE FUNCTION gateway_masked(entity jsonb, secret text[]) RETURNS jsonb
        LANGUAGE sql IMMUTABLE AS $$
            SELECT entity || coalesce(jsonb_object_agg(name, '******'), '{}')
            FROM unnest(secret) AS name
            WHERE entity ->> name IS NOT NULL
        $$
    """)
    op.execute("""
        CREATE FUNCTION gateway_changed(earlier jsonb, later jsonb) RETURNS text[]
        LANGUAGE sql IMMUTABLE STRICT AS $$
            SELECT coalesce(array_agg(name), '{}')
            FROM jsonb_each(later) AS field (name, value)
            WHERE earlier -> name IS DISTINCT FROM value
        $$
    """)


_LOG_CHANGES = """
    CREATE OR REPLACE FUNCTION gateway_log_changes() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
    DECLARE
        taken bigint;
        actor jsonb;
        secret text[];
    BEGIN
        IF NOT EXISTS (SELECT 1 FROM changed) THEN
            RETURN NULL;
        END IF;
        taken := gateway_take_version();
        INSERT INTO changes AS logged
        SELECT taken, TG_TABLE_NAME, id, TG_ARGV[0] FROM changed
        ON CONFLICT (version, kind, entity_id) DO UPDATE SET operation = CASE
            WHEN excluded.operation = 'delete' THEN 'delete'
            WHEN logged.operation = 'create' THEN 'create'
            ELSE 'update'
        END;
        IF TG_OP = 'UPDATE' THEN
            INSERT INTO changes
            SELECT taken, TG_TABLE_NAME, id, 'delete'
            FROM (SELECT id FROM before EXCEPT SELECT id FROM changed) AS renamed
            ON CONFLICT (version, kind, entity_id) DO UPDATE SET operation = 'delete';
        END IF;
        {audit}
        RETURN NULL;
    END $$
"""


_AUDIT = """
        actor := nullif(current_setting('gateway.actor', true), '')::jsonb;
        secret := gateway_secret_columns(TG_TABLE_NAME);
"""


def _note(operation: str, seen: str) -> str:
    """Return the statement that keeps what a trigger saw: id, earlier and later row."""
    # OFFSET 0 keeps the rows from being turned into JSON anew at each mention.
    return f"""
        IF TG_OP = '{operation}' THEN
            INSERT INTO audit (
                version, kind, entity_id, operation, token, address, request_id,
                changed, before, after
            )
            SELECT
                taken, TG_TABLE_NAME, id,
                CASE
                    WHEN earlier IS NULL THEN 'create'
                    WHEN later IS NULL THEN 'delete'
                    ELSE 'update'
                END,
                actor ->> 'token', actor ->> 'address', actor ->> 'request_id',
                gateway_changed(earlier, later),
                CASE WHEN secret IS NULL THEN earlier ELSE gateway_masked(earlier, secret) END,
                CASE WHEN secret IS NULL THEN later ELSE gateway_masked(later, secret) END
            FROM ({seen} OFFSET 0) AS seen (id, earlier, later);
        END IF;
    """  # noqa: S608 - fixed texts


_AUDIT += _note("INSERT", "SELECT id, NULL::jsonb, to_jsonb(changed) FROM changed")
_AUDIT += _note("DELETE", "SELECT id, to_jsonb(changed), NULL::jsonb FROM changed")
_AUDIT += _note(
    "UPDATE",
    "SELECT id, to_jsonb(before), to_jsonb(changed) FROM before FULL JOIN changed USING (id)",
)

"""Services, routes, upstreams, targets; the config version with its change log; nodes.

The version works like this. Before a statement on an entity table runs, the single row of
config_version is locked: write transactions follow one another, and none waits for another while
it holds something that one wants. After the statement, if it changed rows, the transaction takes
the next version (once) and logs its changes under it. At commit, as late as a trigger can run, the
time is noted and listeners are notified. So the order of commits is the order of versions, also
for cascades and for SQL by hand.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ENTITY_TABLES = ("services", "routes", "upstreams", "targets")

TIMESTAMP = sa.TIMESTAMP(timezone=True)
TEXTS = postgresql.ARRAY(sa.Text())
JSONB = postgresql.JSONB()


def upgrade() -> None:
    create_services()
    create_routes()
    create_upstreams()
    create_targets()
    create_version_and_log()
    create_functions()
    for table in ENTITY_TABLES:
        op.execute(f"SELECT gateway_track_changes('{table}')")
    create_nodes()


def downgrade() -> None:
    for table in ("nodes", "targets", "upstreams", "routes", "services"):
        op.drop_table(table)
    for table in ("changes", "change_sets", "config_version"):
        op.drop_table(table)
    op.execute("DROP FUNCTION gateway_track_changes(regclass)")
    for function in (
        "gateway_refuse_truncate",
        "gateway_publish_version",
        "gateway_log_changes",
        "gateway_take_version",
        "gateway_lock_version",
    ):
        op.execute(f"DROP FUNCTION {function}()")


def entity_columns() -> list[sa.Column]:
    """The columns that every entity has."""
    return [
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()")),
        sa.Column("created_at", TIMESTAMP, nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", TIMESTAMP, nullable=False, server_default=sa.text("now()")),
        sa.Column("tags", TEXTS),
    ]


def required(name: str, type_: sa.types.TypeEngine, default: str | None = None) -> sa.Column:
    """A column that is never null."""
    return sa.Column(name, type_, nullable=False, server_default=default)


def optional(name: str, type_: sa.types.TypeEngine, default: str | None = None) -> sa.Column:
    """A column that may be null."""
    return sa.Column(name, type_, server_default=default)


def index_tags(table: str) -> None:
    op.create_index(f"{table}_tags_idx", table, ["tags"], postgresql_using="gin")


def index_reference(table: str, field: str) -> None:
    op.create_index(f"{table}_{field}_id_id_idx", table, [f"{field}_id", "id"])


def create_services() -> None:
    op.create_table(
        "services",
        *entity_columns(),
        optional("name", sa.Text()),
        required("protocol", sa.Text(), "http"),
        required("host", sa.Text()),
        required("port", sa.BigInteger(), "80"),
        optional("path", sa.Text()),
        optional("retries", sa.BigInteger(), "5"),
        optional("connect_timeout", sa.BigInteger(), "60000"),
        optional("write_timeout", sa.BigInteger(), "60000"),
        optional("read_timeout", sa.BigInteger(), "60000"),
        optional("client_certificate_id", sa.Uuid()),
        optional("tls_verify", sa.Boolean()),
        optional("tls_verify_depth", sa.BigInteger()),
        optional("ca_certificates", TEXTS),
        required("enabled", sa.Boolean(), "true"),
        sa.PrimaryKeyConstraint("id", name="services_pkey"),
        sa.UniqueConstraint("name", name="services_name_key"),
    )
    index_reference("services", "client_certificate")
    index_tags("services")


def create_routes() -> None:
    op.create_table(
        "routes",
        *entity_columns(),
        optional("name", sa.Text()),
        required("protocols", TEXTS, "{http,https}"),
        optional("methods", TEXTS),
        optional("hosts", TEXTS),
        optional("paths", TEXTS),
        optional("headers", JSONB),
        required("https_redirect_status_code", sa.BigInteger(), "426"),
        optional("regex_priority", sa.BigInteger(), "0"),
        required("strip_path", sa.Boolean(), "true"),
        optional("path_handling", sa.Text(), "v0"),
        required("preserve_host", sa.Boolean(), "false"),
        required("request_buffering", sa.Boolean(), "true"),
        required("response_buffering", sa.Boolean(), "true"),
        optional("snis", TEXTS),
        optional("sources", JSONB),
        optional("destinations", JSONB),
        optional("service_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("id", name="routes_pkey"),
        sa.UniqueConstraint("name", name="routes_name_key"),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name="routes_service_id_fkey", ondelete="RESTRICT"
        ),
    )
    index_reference("routes", "service")
    index_tags("routes")


def create_upstreams() -> None:
    op.create_table(
        "upstreams",
        *entity_columns(),
        required("name", sa.Text()),
        optional("algorithm", sa.Text(), "round-robin"),
        optional("hash_on", sa.Text(), "none"),
        optional("hash_fallback", sa.Text(), "none"),
        optional("hash_on_header", sa.Text()),
        optional("hash_fallback_header", sa.Text()),
        optional("hash_on_cookie", sa.Text()),
        optional("hash_on_cookie_path", sa.Text(), "/"),
        optional("hash_on_query_arg", sa.Text()),
        optional("hash_fallback_query_arg", sa.Text()),
        optional("hash_on_uri_capture", sa.Text()),
        optional("hash_fallback_uri_capture", sa.Text()),
        optional("slots", sa.BigInteger(), "10000"),
        optional("healthchecks", JSONB),
        optional("host_header", sa.Text()),
        optional("client_certificate_id", sa.Uuid()),
        optional("use_srv_name", sa.Boolean(), "false"),
        sa.PrimaryKeyConstraint("id", name="upstreams_pkey"),
        sa.UniqueConstraint("name", name="upstreams_name_key"),
    )
    index_reference("upstreams", "client_certificate")
    index_tags("upstreams")


def create_targets() -> None:
    op.create_table(
        "targets",
        *entity_columns(),
        required("upstream_id", sa.Uuid()),
        required("target", sa.Text()),
        optional("weight", sa.BigInteger(), "100"),
        sa.PrimaryKeyConstraint("id", name="targets_pkey"),
        sa.UniqueConstraint("upstream_id", "target", name="targets_upstream_id_target_key"),
        sa.ForeignKeyConstraint(
            ["upstream_id"], ["upstreams.id"], name="targets_upstream_id_fkey", ondelete="CASCADE"
        ),
    )
    index_reference("targets", "upstream")
    index_tags("targets")


def create_version_and_log() -> None:
    op.execute("""
        CREATE TABLE config_version (
            singleton boolean DEFAULT true NOT NULL,
            epoch uuid DEFAULT gen_random_uuid() NOT NULL,
            version bigint DEFAULT 0 NOT NULL,
            committed_at timestamptz DEFAULT clock_timestamp() NOT NULL,
            written_by bigint,
            CONSTRAINT config_version_pkey PRIMARY KEY (singleton),
            CONSTRAINT config_version_singleton_check CHECK (singleton)
        )
    """)
    op.execute("""
        CREATE TABLE change_sets (
            version bigint NOT NULL,
            committed_at timestamptz NOT NULL,
            CONSTRAINT change_sets_pkey PRIMARY KEY (version)
        )
    """)
    op.execute("""
        CREATE TABLE changes (
            version bigint NOT NULL,
            kind text NOT NULL,
            entity_id uuid NOT NULL,
            operation text NOT NULL,
            CONSTRAINT changes_pkey PRIMARY KEY (version, kind, entity_id)
        )
    """)
    op.execute("INSERT INTO config_version DEFAULT VALUES")
    op.execute("INSERT INTO change_sets SELECT version, committed_at FROM config_version")


def create_functions() -> None:
    # Each pins its search_path: a session's own must not decide which tables are meant.
    op.execute("""
        CREATE FUNCTION gateway_lock_version() RETURNS trigger
        LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        BEGIN
            PERFORM 1 FROM config_version FOR NO KEY UPDATE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'config_version has no row, so nothing can be written'
                    USING HINT = 'Restore the table from a backup.';
            END IF;
            RETURN NULL;
        END $$
    """)
    # written_by is cleared at commit: a committed id could, in a restored database, one day be
    # the id of another transaction, which would then take no version of its own.
    op.execute("""
        CREATE FUNCTION gateway_take_version() RETURNS bigint
        LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        BEGIN
            UPDATE config_version
            SET version = version + 1, written_by = txid_current()
            WHERE written_by IS DISTINCT FROM txid_current();
            RETURN (SELECT version FROM config_version);
        END $$
    """)
    # A statement that changed nothing takes no version. An entity that a transaction changes more
    # than once is logged once, with what was done to it on the whole.
    op.execute("""
        CREATE FUNCTION gateway_log_changes() RETURNS trigger
        LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        DECLARE
            taken bigint;
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
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION gateway_publish_version() RETURNS trigger
        LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        DECLARE
            stamp timestamptz := clock_timestamp();
        BEGIN
            UPDATE config_version SET committed_at = stamp, written_by = NULL;
            INSERT INTO change_sets VALUES (NEW.version, stamp)
            ON CONFLICT (version) DO UPDATE SET committed_at = stamp;
            PERFORM pg_notify('gateway_config_version', NEW.version::text);
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE CONSTRAINT TRIGGER gateway_publish_version AFTER UPDATE ON config_version
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (OLD.version IS DISTINCT FROM NEW.version)
        EXECUTE FUNCTION gateway_publish_version()
    """)
    # To a transaction that began before it, a truncated table looks empty, as it never was.
    op.execute("""
        CREATE FUNCTION gateway_refuse_truncate() RETURNS trigger
        LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        BEGIN
            RAISE EXCEPTION 'TRUNCATE % would escape the change log', TG_TABLE_NAME
                USING HINT = format('Use DELETE FROM %I instead.', TG_TABLE_NAME);
        END $$
    """)
    # Later migrations call this for their own entity tables.
    op.execute("""
        CREATE FUNCTION gateway_track_changes(entities regclass) RETURNS void
        LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        BEGIN
            EXECUTE format('CREATE TRIGGER gateway_lock_version
                BEFORE INSERT OR UPDATE OR DELETE ON %s
                FOR EACH STATEMENT EXECUTE FUNCTION gateway_lock_version()', entities);
            EXECUTE format('CREATE TRIGGER gateway_log_create AFTER INSERT ON %s
                REFERENCING NEW TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION gateway_log_changes(''create'')', entities);
            EXECUTE format('CREATE TRIGGER gateway_log_update AFTER UPDATE ON %s
                REFERENCING OLD TABLE AS before NEW TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION gateway_log_changes(''update'')', entities);
            EXECUTE format('CREATE TRIGGER gateway_log_delete AFTER DELETE ON %s
                REFERENCING OLD TABLE AS changed
                FOR EACH STATEMENT EXECUTE FUNCTION gateway_log_changes(''delete'')', entities);
            EXECUTE format('CREATE TRIGGER gateway_refuse_truncate BEFORE TRUNCATE ON %s
                FOR EACH STATEMENT EXECUTE FUNCTION gateway_refuse_truncate()', entities);
        END $$
    """)


def create_nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.Uuid()),
        required("name", sa.Text()),
        required("proxy_address", sa.Text()),
        required("admin_address", sa.Text()),
        required("status_address", sa.Text()),
        required("started_at", TIMESTAMP),
        required("last_seen_at", TIMESTAMP),
        optional("applied_version", sa.BigInteger()),
        required("strategy", sa.Text()),
        required("software_version", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="nodes_pkey"),
    )

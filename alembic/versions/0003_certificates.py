"""Certificates, their server names (SNIs) and CA certificates.

`client_certificate_id` of services and upstreams becomes a true foreign key. Until now there were
no certificates, so an id in it, put there by hand, named nothing and was served as none: it is set
to null, in a version of its own. A constraint that is not validated would keep such rows, as a trap
for whoever writes them next. Nodes of the release before pass over the new tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ENTITY_TABLES = ("certificates", "snis", "ca_certificates")
REFERRING_TABLES = ("services", "upstreams")

TIMESTAMP = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    create_certificates()
    create_snis()
    create_ca_certificates()
    for table in ENTITY_TABLES:
        op.create_index(f"{table}_tags_idx", table, ["tags"], postgresql_using="gin")
        op.execute(f"SELECT gateway_track_changes('{table}')")
    refer_to_certificates()


def downgrade() -> None:
    for table in REFERRING_TABLES:
        op.drop_constraint(f"{table}_client_certificate_id_fkey", table)
    for table in ("snis", "certificates", "ca_certificates"):
        op.drop_table(table)


def entity_columns() -> list[sa.Column]:
    """The columns that every entity has."""
    return [
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()")),
        sa.Column("created_at", TIMESTAMP, nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", TIMESTAMP, nullable=False, server_default=sa.text("now()")),
        sa.Column("tags", postgresql.ARRAY(sa.Text())),
    ]


def create_certificates() -> None:
    op.create_table(
        "certificates",
        *entity_columns(),
        sa.Column("cert", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("cert_alt", sa.Text()),
        sa.Column("key_alt", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="certificates_pkey"),
    )


def create_snis() -> None:
    op.create_table(
        "snis",
        *entity_columns(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("certificate_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="snis_pkey"),
        sa.UniqueConstraint("name", name="snis_name_key"),
        sa.ForeignKeyConstraint(
            ["certificate_id"],
            ["certificates.id"],
            name="snis_certificate_id_fkey",
            ondelete="CASCADE",
        ),
    )
    op.create_index("snis_certificate_id_id_idx", "snis", ["certificate_id", "id"])


def create_ca_certificates() -> None:
    op.create_table(
        "ca_certificates",
        *entity_columns(),
        sa.Column("cert", sa.Text(), nullable=False),
        sa.Column("cert_digest", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="ca_certificates_pkey"),
        sa.UniqueConstraint("cert_digest", name="ca_certificates_cert_digest_key"),
    )


def refer_to_certificates() -> None:
    # Write transactions lock the version before any table, and so does this one.
    op.execute("SELECT FROM config_version FOR NO KEY UPDATE")
    for table in REFERRING_TABLES:
        op.execute(
            f"UPDATE {table} SET client_certificate_id = NULL "  # noqa: S608 - fixed names
            "WHERE client_certificate_id IS NOT NULL"
        )
        op.create_foreign_key(
            f"{table}_client_certificate_id_fkey",
            table,
            "certificates",
            ["client_certificate_id"],
            ["id"],
            ondelete="RESTRICT",
        )

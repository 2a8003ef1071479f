"""Commands, and counters of rate limits.

Commands belong to versions as entities do, so they are tracked by the same triggers. Nodes of the
release before know nothing of the table, and so do not carry them out. What probes have found, and
what nodes tell of health, is no configuration and has no version.

Counters are no configuration and have no version.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIMESTAMP = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    create_commands()
    create_probe_reports()
    for table in ("nodes", "data_planes"):
        op.add_column(table, sa.Column("health", postgresql.JSONB()))
    create_rate_limit_counters()


def downgrade() -> None:
    for table in ("nodes", "data_planes"):
        op.drop_column(table, "health")
    op.drop_table("probe_reports")
    op.drop_table("rate_limit_counters")
    op.drop_table("commands")


def create_commands() -> None:
    op.create_table(
        "commands",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()")),
        sa.Column("created_at", TIMESTAMP, nullable=False, server_default=sa.text("now()")),
        sa.Column("tags", postgresql.ARRAY(sa.Text())),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Uuid()),
        sa.Column("arguments", postgresql.JSONB(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name="commands_pkey"),
    )
    op.create_index("commands_expires_at_idx", "commands", ["expires_at"])
    op.create_index("commands_tags_idx", "commands", ["tags"], postgresql_using="gin")
    op.execute("SELECT gateway_track_changes('commands')")


def create_probe_reports() -> None:
    op.create_table(
        "probe_reports",
        sa.Column("upstream_id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.Uuid(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("streak", sa.Integer(), nullable=False),
        sa.Column("reported_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint(
            "upstream_id", "host", "address", "port", "node_id", name="probe_reports_pkey"
        ),
        prefixes=["UNLOGGED"],  # what is lost in a crash is old a second later
    )
    op.create_index("probe_reports_reported_at_idx", "probe_reports", ["reported_at"])


def create_rate_limit_counters() -> None:
    op.create_table(
        "rate_limit_counters",
        sa.Column("id", sa.Uuid()),
        sa.Column("starts_at", TIMESTAMP, nullable=False),
        sa.Column("ends_at", TIMESTAMP, nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="rate_limit_counters_pkey"),
        postgresql_with={"fillfactor": 50},  # rows are written again and again, in their place
    )

"""The role of a node, the commit time of what it serves, and the data planes of hybrid mode.

Nodes of the release before write rows without the new columns and go on doing so.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIMESTAMP = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    role = sa.Column("role", sa.Text(), nullable=False, server_default="traditional")
    op.add_column("nodes", role)
    op.add_column("nodes", sa.Column("applied_committed_at", TIMESTAMP))
    op.create_table(
        "data_planes",
        sa.Column("id", sa.Uuid()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ip", sa.Text(), nullable=False),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.Column("first_seen_at", TIMESTAMP, nullable=False),
        sa.Column("last_seen_at", TIMESTAMP, nullable=False),
        sa.Column("applied_version", sa.BigInteger()),
        sa.Column("applied_committed_at", TIMESTAMP),
        sa.Column("sync_status", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(), nullable=False),
        sa.Column("cert_expires_at", TIMESTAMP),
        sa.Column("control_plane_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="data_planes_pkey"),
    )


def downgrade() -> None:
    op.drop_table("data_planes")
    op.drop_column("nodes", "applied_committed_at")
    op.drop_column("nodes", "role")

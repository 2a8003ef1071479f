"""Commands.

They belong to versions as entities do, so they are tracked by the same triggers. Nodes of the
release before know nothing of the table, and so do not carry them out.
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


def downgrade() -> None:
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

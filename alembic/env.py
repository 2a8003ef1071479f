"""How Alembic runs our migrations: on a connection it is given, or on GATEWAY_DATABASE_URL."""

from __future__ import annotations

import os

from sqlalchemy import Connection

from alembic import context
from gateway.store.migrate import VERSION_TABLE, connection_to
from gateway.store.tables import metadata


def run(connection: Connection) -> None:
    """Run what was asked for in one transaction, which is the caller's if there is one."""
    context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with connection_to(os.environ["GATEWAY_DATABASE_URL"]) as opened:
        run(opened)

"""Strategy ``notify``: wakes the loop when PostgreSQL announces a version.

The announcement is part of the writing transaction and arrives with its commit. It can be lost with
the connection, which is why connecting is a reason to ask, too. LISTEN needs a connection of its
own that is really one: PgBouncer in transaction mode does not offer that.
"""

from __future__ import annotations

from typing import Any

import psycopg

from gateway.settings import NodeSettings
from gateway.store.connection import ask, connect
from gateway.sync.strategy import SyncStrategy, Wake

CHANNEL = "gateway_config_version"
PROBE_INTERVAL_S = 10.0
"""How long silence is believed; then the server must prove that it is still there."""


class NotifyStrategy(SyncStrategy):
    """Listens on a connection of its own, outside all pools."""

    source = None
    promises_wake = True

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._timeout_s = settings.database_connect_timeout_s

    async def run(self, wake: Wake) -> None:
        """Listen until the connection is lost, which raises psycopg.Error or TimeoutError."""
        connection = await connect(self._settings)
        try:
            await ask(connection, connection.execute(f"LISTEN {CHANNEL}"), self._timeout_s)
            wake("listening from now on")
            while True:
                await self._listen(connection, wake)
                await ask(connection, connection.execute("SELECT 1"), self._timeout_s)
        finally:
            await connection.close()

    async def _listen(self, connection: psycopg.AsyncConnection[Any], wake: Wake) -> None:
        """Wake for each announcement until there has been none for a while."""
        is_quiet = False
        while not is_quiet:
            is_quiet = True
            async for announcement in connection.notifies(timeout=PROBE_INTERVAL_S):
                is_quiet = False
                wake(f"version {announcement.payload} announced")

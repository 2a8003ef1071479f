"""Strategy ``notify``: wakes the loop when PostgreSQL announces a version.

The announcement is part of the writing transaction and arrives with its commit. It can be lost with
the connection, which is why connecting is a reason to ask, too.

LISTEN needs a connection of its own that is really one. A pooler in transaction mode (PgBouncer)
takes LISTEN without complaint and never delivers: such a one is found out, and named with the
setting that helps.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg

from gateway.settings import NodeSettings, named
from gateway.store.connection import ask, connect, is_pooled
from gateway.sync.strategy import SyncStrategy, Wake

CHANNEL = "gateway_config_version"
PROBE_INTERVAL_S = 10.0
"""How long silence is believed; then the server must prove that it is still there."""

DELIVERY_TIMEOUT_S = 2.0
"""How long a pooler may take to deliver a notification."""


class NotDeliveredError(Exception):
    """What stands between this node and PostgreSQL does not deliver notifications."""


class NotifyStrategy(SyncStrategy):
    """Listens on a connection of its own, outside all pools."""

    source = None
    promises_wake = True

    def __init__(self, settings: NodeSettings) -> None:
        direct = settings.database_listen_url
        if direct.get_secret_value():
            settings = settings.model_copy(update={"database_url": direct})
        self._settings = settings
        self._timeout_s = settings.database_connect_timeout_s

    async def run(self, wake: Wake) -> None:
        """Listen until the connection is lost, which raises psycopg.Error or TimeoutError.

        Raises NotDeliveredError if there is no sense in listening.
        """
        connection = await connect(self._settings)
        try:
            if await is_pooled(connection, self._timeout_s):
                await self._check_delivery(connection)
            await self._execute(connection, f"LISTEN {CHANNEL}")
            wake("listening from now on")
            while True:
                await self._listen(connection, wake)
                await self._execute(connection, "SELECT 1")
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

    async def _check_delivery(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Send a notification from another connection, and wait for it on this one, idle."""
        channel = f"gateway_delivery_{uuid4().hex}"
        await self._execute(connection, f"LISTEN {channel}")
        other = await connect(self._settings)
        try:
            await self._execute(other, f"NOTIFY {channel}")
        finally:
            await other.close()
        delivered = connection.notifies(timeout=DELIVERY_TIMEOUT_S, stop_after=1)
        if not [announcement async for announcement in delivered]:
            raise NotDeliveredError(
                "notifications do not get through the connection pooler, such as PgBouncer in "
                f"transaction mode: name a direct connection with {named('database_listen_url')}, "
                f"or choose {named('strategy')} poll"
            )
        await self._execute(connection, f"UNLISTEN {channel}")

    async def _execute(
        self, connection: psycopg.AsyncConnection[Any], statement: str
    ) -> psycopg.AsyncCursor[Any]:
        return await ask(connection, connection.execute(statement), self._timeout_s)

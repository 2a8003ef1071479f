"""The one writer of a fleet: changes a route as the Admin API does, and notes what that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

from pydantic import SecretStr

from gateway.settings import NodeSettings, read_settings
from gateway.store.errors import StoreError
from gateway.store.store import Store

ROUTES = 100
"""What the fleet's configuration consists of, with one service."""

NAME = "fleet-writer"
FAREWELL_S = 5.0


class Writer:
    """Owns a service with routes, and changes one of these at a time."""

    def __init__(self, store: Store) -> None:
        self.latencies_s: list[float] = []
        self._store = store
        self._service_id = uuid4()
        self._route_ids: list[UUID] = []

    async def change(self) -> int:
        """Change a route; return the version this made. Raises StoreUnavailable."""
        number = len(self.latencies_s)
        began_s = time.perf_counter()
        async with self._store.write() as transaction:
            route_id = self._route_ids[number % ROUTES]
            await transaction.update("routes", route_id, {"paths": [f"/fleet/change-{number}"]})
        self.latencies_s.append(time.perf_counter() - began_s)
        return transaction.version

    async def add_configuration(self) -> None:
        """Write what the nodes load at first, as one version. Raises StoreUnavailable."""
        async with self._store.write() as transaction:
            service = {"id": self._service_id, "host": "fleet.test"}
            await transaction.insert("services", service)
            for number in range(ROUTES):
                row = {"paths": [f"/fleet/{number}"], "service_id": self._service_id}
                stored = await transaction.insert("routes", {"id": uuid4(), **row})
                self._route_ids.append(stored["id"])

    async def remove_configuration(self) -> None:
        """Leave the database's configuration as it was. Raises StoreUnavailable."""
        async with self._store.write() as transaction:
            for route_id in self._route_ids:
                await transaction.delete("routes", route_id)
            await transaction.delete("services", self._service_id)


@asynccontextmanager
async def open_writer(database_url: str) -> AsyncIterator[Writer]:
    """Open a writer with its own connection, its configuration in place."""
    store = Store(
        read_settings(NodeSettings, node_name="fleet-writer", database_url=SecretStr(database_url))
    )
    await store.start()
    writer = Writer(store)
    try:
        await writer.add_configuration()
        yield writer
    finally:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await writer.remove_configuration()
        await store.stop()

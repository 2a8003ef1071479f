"""The parts of a control plane that other nodes do not have, put together.

`hub` goes where another node has its snapshot applier. Start: the register, then the listener. Stop
is the reverse: first data planes are told to go elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from socket import socket
from uuid import UUID

from websockets.asyncio.server import ServerConnection

from gateway.hybrid.certificates import ClusterPair
from gateway.hybrid.complaints import Complaints
from gateway.hybrid.hub import DataPlaneHub
from gateway.hybrid.listener import ClusterListener
from gateway.hybrid.register import DataPlaneFacts, Register
from gateway.hybrid.session import ControlPlaneParts, Session
from gateway.hybrid.shared_loads import SharedLoads
from gateway.settings import NodeSettings
from gateway.store.data_planes import DataPlaneTable
from gateway.store.source import DatabaseSource
from gateway.store.store import Store


class ControlPlane:
    """Serves data planes. Making it raises PairError.

    :param sync_now: the sync loop's, whose applier is `hub`.
    """

    def __init__(
        self, settings: NodeSettings, store: Store, sync_now: Callable[[], Awaitable[None]]
    ) -> None:
        self._settings = settings
        self._pair = ClusterPair.of(settings)
        self._store = store
        self._loads = SharedLoads(DatabaseSource(settings), settings.full_load_timeout_s)
        self.hub = DataPlaneHub(self._loads, sync_now, settings.sync_timeout_s / 2)
        self._listener: ClusterListener | None = None
        self._register: Register | None = None
        self._writing: asyncio.Task[None] | None = None

    def start(self, node_id: UUID, listening: socket) -> asyncio.Task[None]:
        """Begin to accept data planes; return the task that runs as long as all is well."""
        settings, complaints = self._settings, Complaints()
        table = DataPlaneTable(self._store)
        self._register = Register(table, node_id, settings.data_plane_purge_delay_s)
        parts = ControlPlaneParts(
            node_id,
            settings.node_name,
            self.hub,
            self._register,
            complaints,
            self._pair.expires_at,
        )
        self._listener = ClusterListener(self._pair, complaints, partial(_speak, parts))
        self._pair.complain_of_expiry()
        self._writing = asyncio.create_task(self._register.run(), name="data-planes-register")
        self._listener.start(listening)
        return self._writing

    async def stop(self) -> None:
        """Send the data planes elsewhere and let go of everything; safe after a failed start."""
        if self._listener is not None:
            await self._listener.stop()
        await self.hub.close()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
        await self._loads.close()

    def data_planes(self) -> list[DataPlaneFacts]:
        """Return all data planes of the cluster, as far as this control plane knows."""
        return [] if self._register is None else self._register.facts()


async def _speak(parts: ControlPlaneParts, connection: ServerConnection, ip: str) -> None:
    await Session(connection, ip, parts).run()

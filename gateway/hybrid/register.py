"""The data planes connected to a control plane, written into the cluster's table in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import structlog

from gateway.hybrid.protocol import Applied, DataPlaneStatus, Health
from gateway.store.data_planes import DataPlaneReport, DataPlaneRow, DataPlaneTable
from gateway.store.errors import StoreError, StoreUnavailable

GATHER_S = 0.005
"""From the first report to its write: data planes that apply the same version report together, and
are answered before any of them is written."""

GAP_S = 0.015
"""After a write, so that a thousand data planes cost few of them."""

MOST_PER_WRITE = 200

HOUSEKEEPING_INTERVAL_S = 5.0
"""How often the whole table is read for the metrics."""

PURGE_INTERVAL_S = 60.0

_PAGE = 200

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class DataPlane:
    """A data plane on its connection to this control plane; times by ``time.monotonic``."""

    id: UUID
    name: str
    ip: str
    software_version: str
    labels: dict[str, str]
    cert_expires_at: datetime
    applied: Applied | None
    is_compatible: bool
    health: Health | None = None
    heard_at: float = field(default_factory=time.monotonic)

    @property
    def status(self) -> DataPlaneStatus:
        """How it gets on with us; unknown as long as it serves nothing."""
        if not self.is_compatible:
            return DataPlaneStatus.VERSION_INCOMPATIBLE
        return DataPlaneStatus.UNKNOWN if self.applied is None else DataPlaneStatus.NORMAL


@dataclass(frozen=True, slots=True)
class DataPlaneFacts:
    """A data plane as metrics tell of it; it was last heard ``age_s`` ago."""

    id: UUID
    name: str
    ip: str
    software_version: str
    applied: Applied | None
    status: str
    cert_expires_at: datetime | None
    age_s: float


class Register:
    """Keeps the table of data planes, and an eye on those of other control planes."""

    def __init__(self, table: DataPlaneTable, control_plane_id: UUID, purge_delay_s: float) -> None:
        self._connected: dict[UUID, DataPlane] = {}
        self._table_facts: list[DataPlaneFacts] = []
        self._table_read_at = 0.0
        self._table = table
        self._control_plane_id = control_plane_id
        self._purge_delay_s = purge_delay_s
        self._next_purge = 0.0
        self._noted: dict[UUID, DataPlane] = {}
        self._written: asyncio.Future[StoreError | None] | None = None
        self._due = asyncio.Event()
        self._turn = asyncio.Lock()

    # -- what is known

    @contextmanager
    def connected(self, data_plane: DataPlane) -> Iterator[None]:
        """Know a data plane as connected inside the block."""
        self._connected[data_plane.id] = data_plane
        try:
            yield
        finally:
            if self._connected.get(data_plane.id) is data_plane:
                del self._connected[data_plane.id]

    def facts(self) -> list[DataPlaneFacts]:
        """Return all data planes of the cluster: ours as of now, others as the table had them."""
        now = time.monotonic()
        others_age_s = now - self._table_read_at
        others = (
            replace(facts, age_s=facts.age_s + others_age_s)
            for facts in self._table_facts
            if facts.id not in self._connected
        )
        return [*(_facts(ours, now) for ours in self._connected.values()), *others]

    # -- writing

    async def write(self, data_plane: DataPlane) -> None:
        """Return when the table has a data plane as it is now. Raises StoreError.

        All that are to be written at the same time share one statement.
        """
        self._noted[data_plane.id] = data_plane
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        self._due.set()
        error = await asyncio.shield(self._written)
        if error is not None:
            raise error

    async def forget(self, data_plane: DataPlane) -> None:
        """Take a data plane that stops out of the table. Raises StoreError."""
        self._noted.pop(data_plane.id, None)
        async with self._turn:  # after a write of it that is under way
            await self._table.forget(data_plane.id)

    async def run(self) -> None:
        """Write what is to be written, and look after the table, until cancelled."""
        housekeeping = asyncio.create_task(self._keep_house(), name="data-planes-housekeeping")
        try:
            while True:
                await self._due.wait()
                await asyncio.sleep(GATHER_S)
                await self._write_noted()
                await asyncio.sleep(GAP_S)
        finally:
            _answer(self._written, _stopping())
            housekeeping.cancel()
            await asyncio.wait({housekeeping})

    async def _write_noted(self) -> None:
        noted, written = list(self._noted.values()), self._written
        self._due.clear()
        self._noted.clear()
        self._written = None
        error: StoreError | None = _stopping()
        try:
            async with self._turn:
                for start in range(0, len(noted), MOST_PER_WRITE):
                    await self._table.write(self._reports(noted[start : start + MOST_PER_WRITE]))
            error = None
        except StoreError as problem:
            error = problem
        finally:
            _answer(written, error)

    def _reports(self, data_planes: Iterable[DataPlane]) -> list[DataPlaneReport]:
        now = time.monotonic()
        return [self._report(data_plane, now - data_plane.heard_at) for data_plane in data_planes]

    def _report(self, data_plane: DataPlane, heard_ago_s: float) -> DataPlaneReport:
        applied = data_plane.applied
        return DataPlaneReport(
            id=data_plane.id,
            name=data_plane.name,
            ip=data_plane.ip,
            software_version=data_plane.software_version,
            applied_version=None if applied is None else applied.version,
            applied_committed_at=None if applied is None else applied.committed_at,
            sync_status=data_plane.status,
            labels=data_plane.labels,
            cert_expires_at=data_plane.cert_expires_at,
            control_plane_id=self._control_plane_id,
            heard_ago_s=heard_ago_s,
            health=None if data_plane.health is None else data_plane.health.model_dump(),
        )

    async def _keep_house(self) -> None:
        while True:
            try:
                if time.monotonic() >= self._next_purge:
                    self._next_purge = time.monotonic() + PURGE_INTERVAL_S
                    await self._table.purge(self._purge_delay_s)
                await self._read_table()
            except StoreError as error:
                _log.debug("the table of data planes cannot be read", error=str(error))
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)

    async def _read_table(self) -> None:
        """Read the table page by page, letting other work go on in between."""
        began, rows = time.monotonic(), (await self._table.page(_PAGE)).rows
        page = rows
        while len(page) == _PAGE:
            page = (await self._table.page(_PAGE, page[-1].id)).rows
            rows += page
        self._table_facts = [_facts_of_row(row) for row in rows]
        self._table_read_at = began


def _answer(written: asyncio.Future[StoreError | None] | None, error: StoreError | None) -> None:
    if written is not None:
        written.set_result(error)


def _stopping() -> StoreError:
    return StoreUnavailable("the control plane is stopping")


def _facts(data_plane: DataPlane, now: float) -> DataPlaneFacts:
    return DataPlaneFacts(
        data_plane.id,
        data_plane.name,
        data_plane.ip,
        data_plane.software_version,
        data_plane.applied,
        data_plane.status,
        data_plane.cert_expires_at,
        now - data_plane.heard_at,
    )


def _facts_of_row(row: DataPlaneRow) -> DataPlaneFacts:
    return DataPlaneFacts(
        row.id,
        row.name,
        row.ip,
        row.software_version,
        Applied.of(row.applied_version, row.applied_committed_at),
        row.sync_status,
        row.cert_expires_at,
        row.age_s,
    )

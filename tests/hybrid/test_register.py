"""Data planes written into the table in batches, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from gateway.hybrid import register as register_module
from gateway.hybrid.protocol import Applied, DataPlaneStatus
from gateway.hybrid.register import DataPlane, Register
from gateway.store.data_planes import DataPlaneReport, DataPlaneTable
from gateway.store.errors import StoreUnavailable
from gateway.store.store import Store
from tests.sync.mirror import until

AT = datetime(2026, 1, 1, tzinfo=UTC)
CONTROL_PLANE = uuid4()


class CountedTable(DataPlaneTable):
    """Counts writes and how many run at once; fails while ``failure`` is set."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.writes: list[int] = []
        self.under_way = 0
        self.most_under_way = 0
        self.failure: StoreUnavailable | None = None

    async def write(self, reports: Sequence[DataPlaneReport]) -> None:
        self.writes.append(len(reports))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.failure is not None:
                raise self.failure
            await super().write(reports)
        finally:
            self.under_way -= 1


@pytest.fixture
def table(store: Store) -> CountedTable:
    return CountedTable(store)


@asynccontextmanager
async def running(table: DataPlaneTable, purge_delay_s: float = 3600) -> AsyncIterator[Register]:
    register = Register(table, CONTROL_PLANE, purge_delay_s)
    task = asyncio.create_task(register.run())
    try:
        yield register
    finally:
        task.cancel()
        await asyncio.wait({task})


def a_data_plane(number: int = 1, *, is_compatible: bool = True) -> DataPlane:
    return DataPlane(
        id=UUID(int=number),
        name=f"edge-{number}",
        ip="10.0.0.1",
        software_version="0.1.0",
        labels={},
        cert_expires_at=AT,
        applied=None,
        is_compatible=is_compatible,
    )


def test_the_status_of_a_data_plane() -> None:
    assert a_data_plane().status is DataPlaneStatus.UNKNOWN
    serving = a_data_plane()
    serving.applied = Applied(version=1, committed_at=AT)
    assert serving.status is DataPlaneStatus.NORMAL
    assert a_data_plane(is_compatible=False).status is DataPlaneStatus.VERSION_INCOMPATIBLE


async def test_what_has_been_written_is_in_the_table(table: CountedTable) -> None:
    data_plane = a_data_plane()
    async with running(table) as register:
        await register.write(data_plane)
        (row,) = (await table.page(10)).rows
        assert (row.name, row.applied_version, row.sync_status) == ("edge-1", None, "unknown")
        assert row.control_plane_id == CONTROL_PLANE
        data_plane.applied = Applied(version=7, committed_at=AT)
        await register.write(data_plane)
        (row,) = (await table.page(10)).rows
        assert (row.applied_version, row.applied_committed_at) == (7, AT)
        assert row.sync_status == "normal"


async def test_those_that_report_together_share_a_statement(table: CountedTable) -> None:
    async with running(table) as register:
        await asyncio.gather(*(register.write(a_data_plane(n)) for n in range(1, 501)))
    assert sum(table.writes) == 500
    assert len(table.writes) <= 4
    assert table.most_under_way == 1
    assert len((await table.page(1000)).rows) == 500


async def test_a_failed_write_is_told_to_all_who_wait_and_the_next_may_succeed(
    table: CountedTable,
) -> None:
    async with running(table) as register:
        table.failure = StoreUnavailable("the database is gone")
        waiting = [asyncio.create_task(register.write(a_data_plane(n))) for n in (1, 2)]
        for task in waiting:
            with pytest.raises(StoreUnavailable, match="is gone"):
                await task
        table.failure = None
        await register.write(a_data_plane())


async def test_who_waits_when_the_control_plane_stops_is_told(table: CountedTable) -> None:
    async with running(table) as register:
        await register.write(a_data_plane())
        waiting = asyncio.create_task(register.write(a_data_plane()))
        await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="is stopping"):
        await waiting


async def test_a_data_plane_that_leaves_is_not_written_again(table: CountedTable) -> None:
    data_plane = a_data_plane()
    async with running(table) as register:
        await register.write(data_plane)
        late = asyncio.create_task(register.write(data_plane))
        await asyncio.sleep(0)
        await register.forget(data_plane)
        await asyncio.wait({late})
    assert (await table.page(10)).rows == []


async def test_facts_are_of_now_for_ours_and_of_the_table_for_others(
    table: CountedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_module, "HOUSEKEEPING_INTERVAL_S", 0.01)
    async with running(table) as other:
        await other.write(a_data_plane(1))
        await other.write(a_data_plane(2))
    async with running(table) as register:
        await until(lambda: len(register.facts()) == 2)
        ours = a_data_plane(1)
        ours.applied = Applied(version=7, committed_at=AT)
        ours.heard_at = time.monotonic() - 3
        with register.connected(ours):
            facts = {facts.name: facts for facts in register.facts()}
            assert facts["edge-1"].applied == ours.applied
            assert 3 <= facts["edge-1"].age_s < 30
            assert facts["edge-2"].applied is None
        assert {facts.name: facts for facts in register.facts()}["edge-1"].applied is None


async def test_a_data_plane_that_came_back_is_not_lost_with_its_old_connection(
    table: CountedTable,
) -> None:
    register = Register(table, CONTROL_PLANE, 3600)
    old, new = a_data_plane(), a_data_plane()
    with register.connected(new):
        with register.connected(old):
            register._connected[old.id] = new
        assert [facts.name for facts in register.facts()] == ["edge-1"]


async def test_those_unseen_for_too_long_are_forgotten(table: CountedTable) -> None:
    gone = a_data_plane()
    gone.heard_at = time.monotonic() - 120
    async with running(table) as register:
        await asyncio.gather(register.write(gone), register.write(a_data_plane(2)))
    async with running(table, purge_delay_s=60) as register:
        await until(lambda: bool(register.facts()))
        assert [facts.name for facts in register.facts()] == ["edge-2"]

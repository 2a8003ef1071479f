"""The table of data planes, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.store.data_planes import DataPlaneReport, DataPlaneTable
from gateway.store.store import Store
from tests.store.data_planes import a_report

COMMITTED_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def table(store: Store) -> DataPlaneTable:
    return DataPlaneTable(store)


async def test_what_was_written_is_read_with_its_age(table: DataPlaneTable) -> None:
    report = a_report()
    await table.write([replace(report, heard_ago_s=7.0)])
    (row,) = (await table.page(10)).rows
    assert 7.0 <= row.age_s < 60
    for name in DataPlaneReport.__slots__:
        if name != "heard_ago_s":
            assert getattr(row, name) == getattr(report, name), name


async def test_a_further_report_keeps_only_when_it_was_first_seen(table: DataPlaneTable) -> None:
    await table.write([a_report()])
    (first,) = (await table.page(10)).rows
    later = replace(
        a_report(), name="renamed", applied_version=7, applied_committed_at=COMMITTED_AT
    )
    await table.write([later])
    (row,) = (await table.page(10)).rows
    assert row.first_seen_at == first.first_seen_at
    assert row.last_seen_at > first.last_seen_at
    assert (row.name, row.applied_version, row.applied_committed_at) == (
        "renamed",
        7,
        COMMITTED_AT,
    )


async def test_what_was_heard_earlier_never_replaces_what_was_heard_later(
    table: DataPlaneTable,
) -> None:
    await table.write([replace(a_report(), applied_version=8)])
    await table.write([replace(a_report(), applied_version=7, heard_ago_s=5.0)])
    (row,) = (await table.page(10)).rows
    assert row.applied_version == 8
    assert row.age_s < 5.0


async def test_writes_of_one_control_plane_all_count_however_long_they_took(
    table: DataPlaneTable,
) -> None:
    report = a_report()
    await table.write([report])
    await table.write([replace(report, applied_version=7, heard_ago_s=5.0)])
    (row,) = (await table.page(10)).rows
    assert row.applied_version == 7
    assert row.age_s < 5.0


async def test_two_control_planes_write_the_same_rows_without_a_deadlock(
    table: DataPlaneTable,
) -> None:
    reports = [a_report(number) for number in range(1, 200)]
    await asyncio.gather(
        *(table.write(order) for _ in range(5) for order in (reports, reports[::-1]))
    )
    assert len((await table.page(1000)).rows) == len(reports)


async def test_pages_follow_the_ids(table: DataPlaneTable) -> None:
    await table.write([a_report(number) for number in (3, 1, 2)])
    first = await table.page(2)
    assert [row.id.int for row in first.rows] == [1, 2]
    second = await table.page(2, after_id=first.rows[-1].id)
    assert [row.id.int for row in second.rows] == [3]


async def test_without_data_planes_there_is_still_a_newest_version(table: DataPlaneTable) -> None:
    page = await table.page(10)
    assert page.rows == []
    assert page.newest.version == 0


async def test_those_unseen_for_long_are_forgotten(table: DataPlaneTable) -> None:
    day_s = timedelta(days=1).total_seconds()
    await table.write([replace(a_report(1), heard_ago_s=day_s), a_report(2)])
    await table.purge(day_s - 60)
    assert [row.id.int for row in (await table.page(10)).rows] == [2]


async def test_one_that_has_stopped_is_forgotten(table: DataPlaneTable) -> None:
    await table.write([a_report(1), a_report(2)])
    await table.forget(a_report(1).id)
    assert [row.id.int for row in (await table.page(10)).rows] == [2]

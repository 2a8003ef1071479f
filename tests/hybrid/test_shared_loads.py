"""Loads for data planes: one at a time, and one for all who wait for the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from gateway.hybrid.protocol import decode_answered
from gateway.hybrid.shared_loads import SharedLoads
from gateway.store.errors import StoreUnavailable
from gateway.store.source import Batch, FullLoadReason, Load, VersionMark
from gateway.sync.source import Source

AT = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = 3


def mark(version: int) -> VersionMark:
    return VersionMark(UUID(int=1), version, AT)


class GatedSource(Source):
    """Loads that go on as the test lets them; each has ROWS deletions to tell."""

    def __init__(self) -> None:
        self.begun: list[VersionMark | None] = []
        self.under_way = 0
        self.most_under_way = 0
        self.may_open = asyncio.Event()
        self.may_read = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.has_opened = asyncio.Event()
        self.failure: Exception | None = None
        self.newest = mark(9)
        self.is_closed = False

    async def seen(self) -> VersionMark:
        raise AssertionError("nobody asks here")

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Load | None]:
        self.begun.append(since)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.has_begun.set()
        try:
            await self.may_open.wait()
            self.has_opened.set()
            if since == self.newest:
                yield None
            else:
                reason = FullLoadReason.ASKED if since is None else None
                kind = "full" if since is None else "changes"
                yield Load(kind, self.newest, AT, AT, self._batches(), reason)
        finally:
            self.under_way -= 1

    async def close(self) -> None:
        self.is_closed = True

    async def _batches(self) -> AsyncIterator[Batch]:
        for number in range(ROWS):
            if number == 1:
                await self.may_read.wait()
                if self.failure is not None:
                    raise self.failure
            yield Batch("services", [], [uuid4()])

    def go(self) -> None:
        self.may_open.set()
        self.may_read.set()


class Reader:
    """One data plane's load, as a task."""

    def __init__(self, loads: SharedLoads, since: VersionMark | None = None) -> None:
        self.ids: list[UUID] = []
        self.head = asyncio.Event()
        self.task = asyncio.create_task(self._read(loads, since))

    async def _read(self, loads: SharedLoads, since: VersionMark | None) -> list[UUID] | None:
        async with loads.load(since) as transfer:
            self.head.set()
            if transfer is None:
                return None
            assert transfer.mark == mark(9)
            assert transfer.head().kind == ("full" if since is None else "changes")
            async for message in transfer.messages:
                batch = decode_answered(message)
                assert isinstance(batch, Batch)
                self.ids += batch.deleted
        return self.ids


@pytest.fixture
def source() -> GatedSource:
    return GatedSource()


@pytest.fixture
def loads(source: GatedSource) -> SharedLoads:
    return SharedLoads(source, timeout_s=30.0)


async def all_tasks_have_had_a_turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_wait_for_the_same_share_one_load(
    loads: SharedLoads, source: GatedSource
) -> None:
    readers = [Reader(loads) for _ in range(100)]
    source.go()
    found = await asyncio.gather(*(reader.task for reader in readers))
    assert source.begun == [None]
    assert len(found[0] or []) == ROWS
    assert all(ids == found[0] for ids in found)


async def test_who_comes_when_a_load_has_begun_waits_for_the_next(
    loads: SharedLoads, source: GatedSource
) -> None:
    first = Reader(loads)
    await source.has_begun.wait()
    second, third = Reader(loads), Reader(loads)
    source.go()
    ids = await asyncio.gather(first.task, second.task, third.task)
    assert source.begun == [None, None]
    assert ids[0] != ids[1] == ids[2]


async def test_loads_from_different_versions_come_one_after_the_other(
    loads: SharedLoads, source: GatedSource
) -> None:
    readers = [Reader(loads, mark(version)) for version in range(5)]
    source.go()
    await asyncio.gather(*(reader.task for reader in readers))
    assert source.begun == [mark(version) for version in range(5)]
    assert source.most_under_way == 1


async def test_readers_have_what_is_there_before_all_is(
    loads: SharedLoads, source: GatedSource
) -> None:
    reader = Reader(loads)
    source.may_open.set()
    await reader.head.wait()
    await all_tasks_have_had_a_turn()
    assert len(reader.ids) == 1
    source.may_read.set()
    assert len(await reader.task or []) == ROWS


async def test_nothing_newer_is_nothing(loads: SharedLoads, source: GatedSource) -> None:
    source.go()
    assert await Reader(loads, source.newest).task is None


@pytest.mark.parametrize("failure", [StoreUnavailable("it is gone"), LookupError("it is gone")])
async def test_a_failure_reaches_all_readers_and_spoils_no_later_load(
    loads: SharedLoads, source: GatedSource, failure: Exception
) -> None:
    readers = [Reader(loads) for _ in range(3)]
    source.failure = failure
    source.go()
    for reader in readers:
        with pytest.raises(StoreUnavailable, match="it is gone"):
            await reader.task
    source.failure = None
    assert len(await Reader(loads).task or []) == ROWS


async def test_a_load_that_takes_too_long_is_given_up(source: GatedSource) -> None:
    loads = SharedLoads(source, timeout_s=0.01)
    with pytest.raises(StoreUnavailable, match="took longer than"):
        await Reader(loads).task
    assert source.under_way == 0


async def test_a_load_that_nobody_wants_any_more_is_ended(
    loads: SharedLoads, source: GatedSource
) -> None:
    one, other = Reader(loads), Reader(loads)
    source.may_open.set()
    await one.head.wait()
    one.task.cancel()
    await asyncio.wait({one.task})
    assert source.under_way == 1
    other.task.cancel()
    await asyncio.wait({other.task})
    assert source.under_way == 0


async def test_a_reader_that_leaves_before_its_turn_costs_no_load(
    loads: SharedLoads, source: GatedSource
) -> None:
    first = Reader(loads)
    await source.has_begun.wait()
    impatient = Reader(loads, mark(3))
    await all_tasks_have_had_a_turn()
    impatient.task.cancel()
    await asyncio.wait({impatient.task})
    source.go()
    await first.task
    await Reader(loads, mark(4)).task
    assert source.begun == [None, mark(4)]


async def test_closing_lets_go_of_the_source(loads: SharedLoads, source: GatedSource) -> None:
    await loads.close()
    assert source.is_closed

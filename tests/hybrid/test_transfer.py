"""A spool has one writer and many readers, none of whom waits for another."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.hybrid.transfer import MEMORY_BYTES, ClockReading, Spool
from gateway.store.errors import StoreUnavailable


async def read(spool: Spool) -> list[bytes]:
    return [message async for message in spool.messages()]


async def test_readers_follow_the_writer() -> None:
    spool = Spool()
    early = asyncio.create_task(read(spool))
    for number in range(3):
        spool.append([b"%d" % number, b""])
        await asyncio.sleep(0)
    late = asyncio.create_task(read(spool))
    spool.finish()
    assert await early == await late == [b"0", b"", b"1", b"", b"2", b""]
    spool.close()


async def test_a_reader_that_rests_holds_nobody_up() -> None:
    spool = Spool()
    resting = spool.messages()
    spool.append([b"a"])
    assert await anext(resting) == b"a"
    spool.append([b"b", b"c"])
    spool.finish()
    assert await read(spool) == [b"a", b"b", b"c"]
    assert [message async for message in resting] == [b"b", b"c"]
    spool.close()


async def test_what_does_not_fit_into_memory_is_kept_all_the_same() -> None:
    spool = Spool()
    messages = [bytes([number]) * (MEMORY_BYTES // 3) for number in range(10)]
    for message in messages:
        spool.append([message])
    spool.finish()
    assert await read(spool) == messages
    spool.close()


async def test_what_went_wrong_with_the_writer_reaches_every_reader() -> None:
    spool = Spool()
    readers = [asyncio.create_task(read(spool)) for _ in range(2)]
    spool.append([b"a"])
    await asyncio.sleep(0)
    spool.finish(StoreUnavailable("the database is gone"))
    for reader in readers:
        with pytest.raises(StoreUnavailable, match="the database is gone"):
            await reader
    spool.close()


async def test_nobody_reads_from_a_closed_spool() -> None:
    spool = Spool()
    waiting = asyncio.create_task(read(spool))
    await asyncio.sleep(0)
    spool.close()
    with pytest.raises(StoreUnavailable, match="given up"):
        await waiting


def test_a_clock_that_was_read_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = datetime(2026, 1, 1, tzinfo=UTC)
    monkeypatch.setattr("time.monotonic", lambda: 107.5)
    assert ClockReading(shown, at=100.0).now() == shown + timedelta(seconds=7.5)

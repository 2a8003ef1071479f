"""The watchdog: work ends in time or is cancelled until it does, and is named meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from gateway.sync import watchdog
from gateway.sync.watchdog import Overdue, end, finish


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PATIENCE_S", 0.01)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_work_that_is_done_in_time_gives_its_result() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 42

    assert await finish(work(), "work", 10) == 42


async def test_work_that_fails_fails_as_it_does() -> None:
    async def work() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await finish(work(), "work", 10)


async def test_work_that_hangs_is_cancelled_and_named() -> None:
    with capture_logs() as logs, pytest.raises(Overdue, match=r"work was not done within 0\.01 s"):
        await finish(forever(), "work", 0.01)
    assert [(log["event"], log["task"]) for log in logs] == [("cancelling what hangs", "work")]


async def test_work_that_shows_signs_of_life_is_given_its_time() -> None:
    signs = iter([0.0, 0.0, 0.0])
    may_end = asyncio.Event()

    def sign_of_life() -> float:
        """Alive as often as there are signs, then done."""
        if next(signs, None) is None:
            may_end.set()
        return time.monotonic()

    async def work() -> int:
        await may_end.wait()
        return 42

    assert await finish(work(), "work", 0.01, sign_of_life) == 42


async def test_work_whose_signs_of_life_end_is_cancelled() -> None:
    ended = time.monotonic() - 1
    with capture_logs(), pytest.raises(Overdue):
        await finish(forever(), "work", 0.01, lambda: ended)


async def test_work_that_clings_is_waited_for_so_that_none_runs_beside_it() -> None:
    may_end, cancellations = asyncio.Event(), 0

    async def cling() -> None:
        nonlocal cancellations
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                cancellations += 1
                if cancellations > 2 * watchdog.CANCELLATIONS:
                    return

    with capture_logs() as logs, pytest.raises(Overdue):
        await finish(cling(), "clinging", 0.01)
    assert cancellations == 2 * watchdog.CANCELLATIONS + 1
    named = [log["task"] for log in logs if log["event"] == "a task does not end though cancelled"]
    assert named == ["clinging", "clinging"]


async def test_cancelling_the_waiter_cancels_the_work() -> None:
    has_begun, has_ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            has_begun.set()
            await forever()
        finally:
            has_ended.set()

    waiter = asyncio.create_task(finish(work(), "work", 60))
    await has_begun.wait()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert has_ended.is_set()


async def test_ending_what_has_ended_is_nothing() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    assert await end(task)
    failed = asyncio.create_task(finish(forever(), "work", 0.001))
    await asyncio.wait({failed})
    assert await end(failed)

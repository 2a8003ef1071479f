"""A loop that is held up is told of, and by whom."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from gateway.plugins.contract import Plugin
from gateway.plugins.request import Request
from gateway.stalls import StallMonitor
from gateway.testing import Serving

LIMIT_S = 0.05
STALL_S = 0.5


class Blocking(Plugin):
    name = "blocking"
    priority = 1

    def access(self, request: Request) -> None:
        time.sleep(STALL_S)


async def test_a_plugin_that_blocks_is_named():
    monitor = StallMonitor(LIMIT_S)
    watching = asyncio.create_task(monitor.run())
    with capture_logs() as logs:
        async with Serving(Blocking) as gateway:
            assert (await gateway.ask("GET", "/")).status_code == 200
    watching.cancel()
    assert monitor.counts["blocking"] == 1
    (line,) = (line for line in logs if line.get("plugin") == "blocking")
    assert line["event"] == "the event loop is held up"
    assert "access" in line["within"][0]


async def test_what_is_no_plugin_is_shown_by_its_functions():
    monitor = StallMonitor(LIMIT_S)
    watching = asyncio.create_task(monitor.run())
    await asyncio.sleep(0)

    def dawdle() -> None:
        time.sleep(STALL_S)

    with capture_logs() as logs:
        dawdle()
    watching.cancel()
    assert monitor.counts["other"] >= 1  # a busy machine may hold it up as well
    assert any("dawdle" in line["within"][0] for line in logs)


async def test_the_watching_ends_with_its_task():
    monitor = StallMonitor(LIMIT_S)
    watching = asyncio.create_task(monitor.run())
    await asyncio.sleep(0)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert monitor._thread is not None
    await asyncio.to_thread(monitor._thread.join, 10)
    assert not monitor._thread.is_alive()

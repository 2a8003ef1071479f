"""Keeps a sync strategy running, however it behaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from gateway.sync.backoff import Backoff
from gateway.sync.status import SyncStatus
from gateway.sync.strategy import SyncStrategy
from gateway.sync.watchdog import end

FIRST_RESTART_S = 0.1
LONGEST_RESTART_S = 5.0
HEALTHY_AFTER_S = 10.0
"""A strategy that ran for this long is restarted as if it had never failed before."""

SILENT_AFTER_VERSIONS = 3
"""Versions that polling had to find before a strategy that promised to announce them is restarted.

One or two may be found by polling just before the announcement arrives."""

_log = structlog.get_logger(__name__)


class StrategySupervisor:
    """Runs a strategy again whenever it ends, fails or falls silent; the loop polls meanwhile."""

    def __init__(
        self, strategy: SyncStrategy, status: SyncStatus, ask_soon: Callable[[], None]
    ) -> None:
        self._strategy = strategy
        self._status = status
        self._ask_soon = ask_soon
        self._backoff = Backoff(FIRST_RESTART_S, LONGEST_RESTART_S)
        self._unannounced = 0
        self._fell_silent = asyncio.Event()
        self._is_failing = False

    async def run(self) -> None:
        """Keep the strategy running until cancelled."""
        while True:
            began = time.monotonic()
            problem = await self._run_once()
            if time.monotonic() - began > HEALTHY_AFTER_S:
                self._backoff.reset()
            self._note(problem)
            await asyncio.sleep(self._backoff.next_s())

    def note_found_by_polling(self) -> None:
        """Count a version that the strategy has not announced (yet)."""
        self._unannounced += 1
        if self._strategy.promises_wake and self._unannounced >= SILENT_AFTER_VERSIONS:
            self._fell_silent.set()

    async def _run_once(self) -> str:
        """Run the strategy until it ends or falls silent; return what was wrong with that."""
        self._unannounced = 0
        self._fell_silent.clear()
        name = f"sync-strategy-{self._status.strategy}"
        running = asyncio.create_task(self._guarded(), name=name)
        silence = asyncio.create_task(self._fell_silent.wait(), name=f"{name}-silence")
        try:
            await asyncio.wait({running, silence}, return_when=asyncio.FIRST_COMPLETED)
            return running.result() if running.done() else "it announced none of the last versions"
        finally:
            await asyncio.gather(end(running), end(silence))

    async def _guarded(self) -> str:
        try:
            await self._strategy.run(self._wake)
        except Exception as error:  # noqa: BLE001 - a strategy may be anybody's code
            return f"{type(error).__name__}: {error}"
        return "it returned"

    def _wake(self, reason: str) -> None:
        self._unannounced = 0
        self._status.strategy_problem = None
        if self._is_failing:
            self._is_failing = False
            _log.info("sync strategy works again", strategy=self._status.strategy, reason=reason)
        self._ask_soon()

    def _note(self, problem: str) -> None:
        """Say it once; a strategy that keeps failing is not news."""
        self._status.strategy_restarts += 1
        self._status.strategy_problem = problem
        say = _log.debug if self._is_failing else _log.warning
        say(
            "sync strategy failed, polling goes on; restarting it",
            strategy=self._status.strategy,
            problem=problem,
        )
        self._is_failing = True

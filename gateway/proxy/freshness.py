"""Whether a request may be answered from the current snapshot, or must not be, or has to wait.

`X-Gateway-Min-Version: V` asks for a snapshot that is no older than version V: who has just written
V through another node reads it here. Such a request waits while the node syncs, all that wait
sharing one question to the database, and is refused if V does not come in time.

With ``stale_action=refuse``, a node that has not synced for ``max_stale_s`` answers nothing at all.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.addresses import Networks
from gateway.settings import NodeSettings, StaleAction, networks
from gateway.sync.loop import SyncFailedError

ASK_AGAIN_S = 0.05
"""How often a version that is not there yet is asked for."""

_DIGITS = 18


class Waiting(Protocol):
    """A request that may have to wait: an exchange, before anything was done about it."""

    def proceed(self) -> None:
        """Go on with the current snapshot, if somebody still waits for the answer."""
        ...

    def refuse(self, status: int, message: str) -> None:
        """Answer so, if somebody still waits; a 503 says when to try again."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the answer any more."""
        ...


class Freshness:
    """Decides which requests the current snapshot is too old for."""

    def __init__(
        self,
        settings: NodeSettings,
        traffic: TrafficMetrics,
        applied_version: Callable[[], int],
        sync_now: Callable[[], Awaitable[None]],
        stale_s: Callable[[], float],
    ) -> None:
        self._traffic = traffic
        self._applied_version = applied_version
        self._sync_now = sync_now
        self._stale_s = stale_s
        self._max_stale_s = settings.max_stale_s
        self._timeout_s = settings.min_version_timeout_s
        self._askers = Networks(networks(settings.min_version_from))
        self._waiting: list[tuple[int, float, Waiting]] = []  # version, deadline, request
        self._news = asyncio.Event()
        self._syncing: asyncio.Task[None] | None = None
        self.refuses_stale = (
            settings.stale_action is StaleAction.REFUSE and settings.max_stale_s > 0
        )

    def admit(self, request: Waiting, asked: bytes | None, peer: bytes) -> None:
        """Let a request proceed, now or later, or refuse it.

        :param asked: its X-Gateway-Min-Version, if it has one.
        :param peer: the address it came from, whoever the client behind that is.
        """
        if self.refuses_stale and (stale_s := self._stale_s()) > self._max_stale_s:
            self._traffic.stale_refusals += 1
            request.refuse(503, _stale_message(stale_s))
        elif asked is None or peer not in self._askers:
            request.proceed()
        elif not asked.isdigit() or len(asked) > _DIGITS:
            request.refuse(400, "X-Gateway-Min-Version is not a version")
        elif self._applied_version() >= int(asked):
            request.proceed()
        else:
            self._wait_for(int(asked), request)

    def note_apply(self) -> None:
        """Let those proceed that have waited for the snapshot that is current now."""
        self._settle()

    async def stop(self) -> None:
        """Refuse all that still wait."""
        for _, _, request in self._take(lambda *_: True):
            request.refuse(503, "the node is stopping")
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.wait({self._syncing})

    # -- waiting

    def _wait_for(self, version: int, request: Waiting) -> None:
        self._traffic.min_version_waits += 1
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        self._waiting.append((version, deadline, request))
        self._news.set()
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync_for_all(), name="min-version-sync")

    async def _sync_for_all(self) -> None:
        """Sync again and again while somebody waits."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            self._news.clear()
            first_deadline = min(deadline for _, deadline, _ in self._waiting)
            with suppress(SyncFailedError, TimeoutError):
                async with asyncio.timeout_at(first_deadline):
                    await self._sync_now()
            self._settle()
            pause_until = min([loop.time() + ASK_AGAIN_S, *(at for _, at, _ in self._waiting)])
            with suppress(TimeoutError):
                async with asyncio.timeout_at(pause_until):
                    await self._news.wait()
            self._settle()

    def _settle(self) -> None:
        """Let those proceed whose version is there, and refuse those whose time is over.

        Each by a callback of its own: what goes wrong with one is not the others' problem, nor
        the apply's.
        """
        if not self._waiting:
            return
        loop, applied = asyncio.get_running_loop(), self._applied_version()
        now = loop.time()
        for _, _, request in self._take(lambda version, _, __: version <= applied):
            loop.call_soon(request.proceed)
        for version, _, request in self._take(lambda _, deadline, __: deadline <= now):
            self._traffic.min_version_timeouts += 1
            message = f"version {version} is not here yet, this is version {applied}"
            loop.call_soon(request.refuse, 503, message)

    def _take(
        self, is_meant: Callable[[int, float, Waiting], bool]
    ) -> list[tuple[int, float, Waiting]]:
        """Take those that are meant out of the waiting; who is gone is forgotten."""
        waiting = [entry for entry in self._waiting if not entry[2].is_over]
        self._waiting = [entry for entry in waiting if not is_meant(*entry)]
        return [entry for entry in waiting if is_meant(*entry)]


def _stale_message(stale_s: float) -> str:
    if math.isinf(stale_s):
        return "this node has not synced since it started"
    return f"this node has not synced for {stale_s:.0f} s"

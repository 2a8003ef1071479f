"""What a control plane tells its data planes: the newest version, and what leads to it.

The hub stands at the end of an ordinary sync loop, where another node has its snapshot. It keeps no
rows: the last change sets as messages, everything else is read again when somebody asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.hybrid.encoding import messages
from gateway.hybrid.question_rate import QuestionRate
from gateway.hybrid.recent import ChangeSet, RecentChanges
from gateway.hybrid.shared_loads import SharedLoads
from gateway.hybrid.transfer import ClockReading, Transfer
from gateway.store.errors import StoreUnavailable
from gateway.store.source import Load, VersionMark
from gateway.sync.loop import SyncFailedError

Announce = Callable[[VersionMark], None]
"""Tells a data plane that there is a newer version. Cheap, never blocks."""


class DataPlaneHub:
    """The applier of a control plane, and the source of its data planes.

    :param sync_now: has everything applied here that was committed before the call.
    :param timeout_s: deadline for that.
    """

    def __init__(
        self, loads: SharedLoads, sync_now: Callable[[], Awaitable[None]], timeout_s: float
    ) -> None:
        self.mark: VersionMark | None = None
        self.announce_to: set[Announce] = set()
        self._recent = RecentChanges()
        self._loads = loads
        self._sync_now = sync_now
        self._timeout_s = timeout_s
        self._rate = QuestionRate()
        self._question: asyncio.Task[None] | None = None

    async def apply(self, load: Load) -> None:
        """Take what is new and announce it. Raises what reading the load raises."""
        clock = ClockReading.of(load)
        if load.kind == "full" or self.mark is None:
            self._recent.clear()
        else:
            encoded = await _encoded(load)
            self._recent.add(
                ChangeSet(self.mark, load.mark, load.oldest_committed_at, clock, encoded)
            )
        self.mark = load.mark
        for announce in self.announce_to:
            announce(load.mark)

    async def seen(self) -> VersionMark:
        """Return the newest version: what was committed before the question is in it.

        Who asks at the same time shares one question to the database. Raises StoreUnavailable.
        """
        if self._question is None:
            self._question = asyncio.create_task(self._ask(), name="data-planes-question")
        question = self._question
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.shield(question)
        except SyncFailedError as error:
            raise StoreUnavailable(f"the control plane cannot sync: {error}") from error
        except TimeoutError:
            raise StoreUnavailable(
                f"the control plane's database has not answered for {self._timeout_s:g} s"
            ) from None
        if self.mark is None:
            raise StoreUnavailable("the control plane has not loaded anything yet")
        return self.mark

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Transfer | None]:
        """Open a load from ``since`` to the newest version, None if there is nothing newer.

        Raises StoreUnavailable.
        """
        path = None if since is None or self.mark is None else self._recent.path(since, self.mark)
        if path is None:
            async with self._loads.load(since) as transfer:
                yield transfer
        else:
            yield _from_memory(path) if path else None

    async def close(self) -> None:
        """End what is under way; call it when there are no data planes any more."""
        question, self._question = self._question, None
        if question is not None:
            question.cancel()
            await asyncio.wait({question})

    async def _ask(self) -> None:
        """Ask the database once; who comes after that has begun waits for the next time."""
        await asyncio.sleep(self._rate.take(time.monotonic()))
        self._question = None
        await self._sync_now()


async def _encoded(load: Load) -> tuple[bytes, ...]:
    encoded: list[bytes] = []
    async for batch in load.batches:
        encoded += messages(batch)
        await asyncio.sleep(0)
    return tuple(encoded)


def _from_memory(path: Sequence[ChangeSet]) -> Transfer:
    return Transfer(
        "changes",
        path[-1].to,
        path[0].oldest_committed_at,
        path[-1].clock,
        None,
        _messages_of(path),
    )


async def _messages_of(path: Sequence[ChangeSet]) -> AsyncIterator[bytes]:
    for change_set in path:
        for message in change_set.messages:
            yield message

"""Where the versions of a data plane come from: a control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.hybrid.line import Line
from gateway.hybrid.link import ControlPlaneLink
from gateway.hybrid.protocol import Load as LoadQuestion
from gateway.hybrid.protocol import Loaded, Loading, Mark, NothingNewer, Seen, SeenAnswer
from gateway.store.errors import StoreUnavailable
from gateway.store.source import Batch, FullLoadReason, Load, VersionMark
from gateway.sync.source import Source


class ControlPlaneSource(Source):
    """Asks over the link; for one task at a time."""

    def __init__(self, link: ControlPlaneLink) -> None:
        self._link = link
        self._seen_on: Line | None = None

    async def seen(self) -> VersionMark:
        """Return the newest version. Raises StoreUnavailable."""
        async with self._link.exchange() as line:
            return await self._seen(line)

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Load | None]:
        """Open a load from ``since`` to the newest version, None if there is nothing newer.

        Raises StoreUnavailable.
        """
        question = LoadQuestion(since=None if since is None else Mark.of(since))
        async with self._link.exchange() as line:
            if line is not self._seen_on:  # this control plane may be behind the last one
                await self._seen(line)
            head: Loading | NothingNewer = await line.ask(question, Loading, NothingNewer)
            if isinstance(head, NothingNewer):
                yield None
                return
            batches = _Batches(line)
            yield _load(head, batches)
            if not batches.are_all_read:
                raise StoreUnavailable(f"a load from {line.peer} was not read to its end")

    async def _seen(self, line: Line) -> VersionMark:
        mark = (await line.ask(Seen(), SeenAnswer)).mark.mark()
        self._seen_on = line
        return mark

    async def close(self) -> None:
        """Close the link; the next question opens it again."""
        await self._link.close()


class _Batches:
    """The batches of a load as they come in."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.are_all_read = False

    def __aiter__(self) -> _Batches:
        return self

    async def __anext__(self) -> Batch:
        if not self.are_all_read:
            batch = await self._line.answer(Batch, Loaded)
            if isinstance(batch, Batch):
                return batch
            self.are_all_read = True
        raise StopAsyncIteration


def _load(head: Loading, batches: AsyncIterator[Batch]) -> Load:
    return Load(
        head.kind,
        head.mark.mark(),
        head.oldest_committed_at,
        head.read_at,
        batches,
        _reason(head),
    )


def _reason(head: Loading) -> FullLoadReason | None:
    """Return why everything is loaded; a reason that only a newer release knows is none."""
    known = {reason.value: reason for reason in FullLoadReason}
    return None if head.reason is None else known.get(head.reason, FullLoadReason.ASKED)

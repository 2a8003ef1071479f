"""A load on its way to a data plane: what it is, and its messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import Literal

from gateway.hybrid.protocol import Loading, Mark
from gateway.store.errors import StoreError, StoreUnavailable
from gateway.store.source import Load, VersionMark

MEMORY_BYTES = 1_048_576
"""A longer spool goes to a temporary file without a name."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the database's clock showed at a moment of ``time.monotonic``."""

    shown: datetime
    at: float

    @classmethod
    def of(cls, load: Load) -> ClockReading:
        """Return the reading that came with a load that has just been opened."""
        return cls(load.read_at, time.monotonic())

    def now(self) -> datetime:
        """Return what the clock shows now."""
        return self.shown + timedelta(seconds=time.monotonic() - self.at)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A load as messages, read once. Reading raises StoreError."""

    kind: Literal["full", "changes"]
    mark: VersionMark
    oldest_committed_at: datetime
    clock: ClockReading
    reason: str | None
    messages: AsyncIterator[bytes]

    def head(self) -> Loading:
        """Return the message that comes before the batches."""
        return Loading(
            kind=self.kind,
            mark=Mark.of(self.mark),
            oldest_committed_at=self.oldest_committed_at,
            read_at=self.clock.now(),
            reason=self.reason,
        )


class Spool:
    """Messages written by one, read by any number; a slow reader holds nobody up."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 - see `close`
        self._sizes: list[int] = []
        self._is_whole = False
        self._error: StoreError | None = None
        self._grown = asyncio.Event()

    def append(self, messages: Iterable[bytes]) -> None:
        """Write further messages."""
        self._file.seek(0, 2)
        for message in messages:
            self._file.write(message)
            self._sizes.append(len(message))
        self._wake()

    def finish(self, error: StoreError | None = None) -> None:
        """Say that there will be no more, because of ``error`` if that is not all."""
        self._is_whole, self._error = True, error
        self._wake()

    def close(self) -> None:
        """Forget the messages; who still reads gets an error."""
        self.finish(StoreUnavailable("the load was given up"))
        self._file.close()

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield the messages, waiting for those still to come. Raises StoreError."""
        number = position = 0
        while self._error is None:
            if number < len(self._sizes):
                self._file.seek(position)
                message = self._file.read(self._sizes[number])
                position += len(message)
                number += 1
                yield message
            elif self._is_whole:
                return
            else:
                await self._grown.wait()
        raise self._error

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

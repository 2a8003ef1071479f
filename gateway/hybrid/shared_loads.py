"""Loads read from the database for data planes: one at a time, each for all who wait for the same.

A thousand data planes that come back at once with nothing, or from the same old version, cost the
database one load. It is read at the database's pace into a spool, so that a slow data plane holds
no transaction open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from gateway.hybrid.encoding import messages
from gateway.hybrid.transfer import ClockReading, Spool, Transfer
from gateway.store.errors import StoreError, StoreUnavailable
from gateway.store.source import Load, VersionMark
from gateway.sync.source import Source

_log = structlog.get_logger(__name__)


class SharedLoads:
    """Reads loads from a source, which nobody else may use."""

    def __init__(self, source: Source, timeout_s: float) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._joinable: dict[VersionMark | None, _SharedLoad] = {}

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Transfer | None]:
        """Open a load that is read after this call; None if there is nothing newer.

        Raises StoreError.
        """
        shared = self._joinable.get(since)
        if shared is None:
            shared = self._joinable[since] = _SharedLoad()
            work = self._read(since, shared)
            shared.reading = asyncio.create_task(work, name="data-planes-load")
        shared.readers += 1
        try:
            yield await shared.transfer()
        finally:
            shared.readers -= 1
            if not shared.readers:
                self._forget(since, shared)
                await shared.end()

    async def close(self) -> None:
        """Let go of the connection; call it when nobody loads any more."""
        await self._source.close()

    async def _read(self, since: VersionMark | None, shared: _SharedLoad) -> None:
        try:
            async with self._turn, asyncio.timeout(self._timeout_s):
                self._forget(since, shared)  # who comes from now on may need something newer
                async with self._source.load(since) as load:
                    await shared.take(load)
        except StoreError as error:
            shared.fail(error)
        except TimeoutError:
            problem = f"reading the configuration took longer than {self._timeout_s:g} s"
            shared.fail(StoreUnavailable(problem))
        except Exception as error:  # noqa: BLE001 - nobody may wait for it forever
            _log.exception("reading the configuration for data planes failed")
            shared.fail(StoreUnavailable(f"{type(error).__name__}: {error}"))

    def _forget(self, since: VersionMark | None, shared: _SharedLoad) -> None:
        if self._joinable.get(since) is shared:
            del self._joinable[since]


class _SharedLoad:
    """One load and those who read it."""

    reading: asyncio.Task[None]

    def __init__(self) -> None:
        self.readers = 0
        self._spool = Spool()
        self._opened = asyncio.Event()
        self._load: Load | None = None
        self._clock: ClockReading | None = None
        self._error: StoreError | None = None

    async def transfer(self) -> Transfer | None:
        """Wait until the load is open; return it for one reader."""
        await self._opened.wait()
        if self._error is not None:
            raise self._error
        if self._load is None or self._clock is None:
            return None
        return Transfer(
            self._load.kind,
            self._load.mark,
            self._load.oldest_committed_at,
            self._clock,
            self._load.reason,
            self._spool.messages(),
        )

    async def take(self, load: Load | None) -> None:
        """Tell the readers what is loaded, then write it into the spool."""
        if load is not None:
            self._load, self._clock = load, ClockReading.of(load)
        self._opened.set()
        if load is not None:
            async for batch in load.batches:
                self._spool.append(messages(batch))
                await asyncio.sleep(0)
        self._spool.finish()

    def fail(self, error: StoreError) -> None:
        """Tell the readers that there will be nothing, or nothing further."""
        self._error = error
        self._opened.set()
        self._spool.finish(error)

    async def end(self) -> None:
        """Stop reading, as nobody wants it any more."""
        self.reading.cancel()
        await asyncio.wait({self.reading})
        self._spool.close()

"""Loads from a read replica: the primary says which version there is, the replica gives the rows.

A replica is behind by an unknown time. So it is asked for a load once it has the version that the
primary named; when that takes too long, the primary gives the rows as well.

With the primary out of reach the replica is followed forward, never back and never into another
history. That is better than nothing and less than a sync, which promises that everything
acknowledged is in it: what is found so is applied, and the sync still fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from pydantic import SecretStr

from gateway.settings import NodeSettings
from gateway.store.errors import StoreError, StoreUnavailable
from gateway.store.source import DatabaseSource, FullLoadReason, Load, VersionMark

FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.05
"""Between two questions whether the replica has caught up."""

_OTHER_HISTORIES = frozenset(
    {FullLoadReason.OTHER_EPOCH, FullLoadReason.WENT_BACK, FullLoadReason.OTHER_HISTORY}
)

_log = structlog.get_logger(__name__)


class ReplicaSource:
    """A primary and its replica as one source; for one task at a time, as both of them.

    ``wait_s``: how long a load waits for the replica. ``patience_s``: how long the primary may take
    to name the newest version; half of what the loop allows, so that the replica can still answer.
    """

    def __init__(
        self,
        primary: DatabaseSource,
        replica: DatabaseSource,
        settings: NodeSettings,
        applied: Callable[[], VersionMark | None],
    ) -> None:
        self._primary = primary
        self._replica = replica
        self.wait_s = settings.database_replica_wait_s
        self.patience_s = settings.sync_timeout_s / 2
        self._applied = applied
        self._wanted: VersionMark | None = None
        self._why_primary_is_away: StoreError = StoreUnavailable("the primary was not asked")
        self._has_failed = False
        self._is_avoided = False

    @classmethod
    def of(
        cls, settings: NodeSettings, applied: Callable[[], VersionMark | None]
    ) -> ReplicaSource | DatabaseSource:
        """Return the source with these settings; ``applied`` tells what the node serves."""
        primary = DatabaseSource(settings)
        url: SecretStr = settings.database_replica_url
        if not url.get_secret_value():
            return primary
        replica = DatabaseSource(settings.model_copy(update={"database_url": url}))
        return cls(primary, replica, settings, applied)

    async def seen(self) -> VersionMark:
        """Return the newest version, from the primary if that answers. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(self.patience_s):
                self._wanted = await self._primary.seen()
        except (StoreError, TimeoutError) as error:
            self._wanted = None
            self._why_primary_is_away = _unavailable(error)
            return await self._newer_at_replica(self._why_primary_is_away)
        return self._wanted

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Load | None]:
        """Open a load from ``since`` to the version seen last. Raises StoreUnavailable.

        Also at the end, if the primary was out of reach.
        """
        if self._wanted is None:
            async with self._load_without_primary(since) as load:
                yield load
        elif await self._has_caught_up(self._wanted):
            async with self._load_from_replica(since, self._wanted) as load:
                yield load
        else:
            async with self._primary.load(since) as load:
                yield load

    async def close(self) -> None:
        """Close the connections; the next question opens others."""
        await self._primary.close()
        await self._replica.close()

    # -- with the primary

    async def _has_caught_up(self, wanted: VersionMark) -> bool:
        """Wait for the replica to have a version; say once if it does not get it in time."""
        if self._is_avoided:
            self._is_avoided = False
            return False
        try:
            async with asyncio.timeout(self.wait_s):
                await self._reach(wanted)
        except (StoreError, TimeoutError) as error:
            self._note_failure(f"behind by more than {self.wait_s:g} s", error)
            return False
        self._note_success()
        return True

    async def _reach(self, wanted: VersionMark) -> None:
        pause_s = FIRST_PAUSE_S
        while not _includes(await self._replica.seen(), wanted):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _load_from_replica(
        self, since: VersionMark | None, wanted: VersionMark
    ) -> AsyncIterator[Load | None]:
        """Load from the replica. If that fails, as it may cancel what holds it up, not again."""
        self._is_avoided = True
        async with self._replica.load(since) as load:
            mark = since if load is None else load.mark
            if mark is None or not _includes(mark, wanted):
                raise StoreUnavailable("the replica has gone back")
            yield load
        self._is_avoided = False

    # -- without it

    async def _newer_at_replica(self, problem: StoreError) -> VersionMark:
        mark, applied = await self._replica.seen(), self._applied()
        if mark == applied or not _may_follow(mark, applied):
            raise StoreUnavailable(f"{problem}; the replica has nothing newer") from problem
        return mark

    @asynccontextmanager
    async def _load_without_primary(self, since: VersionMark | None) -> AsyncIterator[Load | None]:
        problem = self._why_primary_is_away
        async with self._replica.load(since) as load:
            if load is not None:
                if load.reason in _OTHER_HISTORIES or not _may_follow(load.mark, self._applied()):
                    raise StoreUnavailable(f"{problem}; the replica has another history")
                _log.info("following the replica alone", version=load.mark.version)
            yield load
        raise StoreUnavailable(f"{problem}; the replica alone cannot tell what is newest")

    # -- what is said

    def _note_failure(self, problem: str, error: Exception) -> None:
        if not self._has_failed:
            _log.warning(
                "loading from the primary instead of the replica",
                problem=problem if isinstance(error, TimeoutError) else str(error),
            )
        self._has_failed = True

    def _note_success(self) -> None:
        if self._has_failed:
            _log.info("loading from the replica again")
        self._has_failed = False


def _unavailable(error: StoreError | TimeoutError) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreUnavailable("the database is unavailable: no answer in time")


def _includes(mark: VersionMark, wanted: VersionMark) -> bool:
    """Whether who is at ``mark`` has seen ``wanted``."""
    return mark == wanted or (mark.epoch == wanted.epoch and mark.version > wanted.version)


def _may_follow(mark: VersionMark, applied: VersionMark | None) -> bool:
    return applied is None or _includes(mark, applied)

"""A strategy as it must not be: it tells what is new by timestamps instead of versions.

A transaction that began before others and commits after them carries an older time than they do, so
a node that has seen theirs never asks for its rows. This is for the history checker to find.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.settings import NodeSettings
from gateway.store.source import Batch, DatabaseSource, Load, VersionMark
from gateway.sync.notify import NotifyStrategy

NAME = "broken-timestamps"


class TimestampSource(DatabaseSource):
    """Finds only those of the changed rows that are newer than all it has seen."""

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings)
        self._newest = datetime.min.replace(tzinfo=UTC)

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Load | None]:
        async with super().load(since) as load:
            if load is not None:
                load.batches = self._newer(load.batches, is_full=load.kind == "full")
            yield load

    async def _newer(self, batches: AsyncIterator[Batch], *, is_full: bool) -> AsyncIterator[Batch]:
        newest = self._newest
        async for batch in batches:
            times = [row["updated_at"] for row in batch.rows]
            if not is_full:
                batch.rows = [row for row in batch.rows if row["updated_at"] > self._newest]
            newest = max([newest, *times])
            yield batch
        self._newest = newest


class BrokenStrategy(NotifyStrategy):
    """Wakes as it should; what it brings to ask is the flaw."""

    source: Any

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings)
        self.source = TimestampSource(settings)


def publish(directory: Path) -> list[Path]:
    """Make a package of the strategy; return what has to be on the path for it to be found."""
    info = directory / "broken_strategy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-strategy\nVersion: 1.0\n")
    entry_point = f"{NAME} = {__name__}:{BrokenStrategy.__name__}"
    (info / "entry_points.txt").write_text(f"[gateway.sync_strategies]\n{entry_point}\n")
    return [directory, Path(__file__).parents[3]]

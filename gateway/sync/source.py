"""The contract of a source: where a node's versions come from.

The database is one; a strategy may bring another (a data plane's asks a control plane).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.store.source import Load, VersionMark


class Source(Protocol):
    """Versions and what they consist of; asked by one task at a time."""

    async def seen(self) -> VersionMark:
        """Return the newest version.

        Everything whose write was acknowledged before the question is in it. Raises StoreError.
        """
        ...

    def load(self, since: VersionMark | None) -> AbstractAsyncContextManager[Load | None]:
        """Open a load from ``since`` to the newest version, None if there is nothing newer.

        Of everything if ``since`` is None, or a version that cannot be continued from. All of it
        belongs to one version. Raises StoreError.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; the next question opens them again."""
        ...

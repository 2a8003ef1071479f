"""The contract of a sync strategy, which decides one thing: when to ask the database.

A strategy never says what is newer, and never needs to be right: it wakes the loop, the loop asks.
Polling is always on underneath, so a strategy that fails costs time, never a change. To add one,
publish a class under the entry point group ``gateway.sync_strategies``; its name there is the value
of the setting ``strategy``. `tests/sync/test_strategies.py` is the contract as tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.settings import NodeSettings
from gateway.sync.source import Source

Wake = Callable[[str], None]
"""Makes the loop ask soon; the argument is the reason, for the log. Cheap, never blocks."""


class SyncStrategy(Protocol):
    """Wakes the sync loop; made once per node."""

    source: Source | None
    """What the loop asks, where that is not the database."""

    promises_wake: bool
    """Whether each version is meant to be announced. Then silence is taken for a hang: after some
    versions that polling had to find, the strategy is restarted."""

    def __init__(self, settings: NodeSettings) -> None:
        """Take what is needed from the settings; neither wait nor raise."""

    async def run(self, wake: Wake) -> None:
        """Call ``wake`` whenever there may be a newer version, until cancelled.

        To return or raise means to have failed: the loop logs it and runs the strategy again,
        with back-off. So reconnecting is to raise; call ``wake`` after each connect, as changes
        may have been missed before.
        """
        ...

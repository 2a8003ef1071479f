"""Counters that nodes have in common, as plugins see them: a place where numbers are added up.

Who keeps them, and how, is no business of the plugins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias
from uuid import UUID

Key: TypeAlias = int | bytes
"""Who is counted: the number of a UUID, or a text."""


class ScopeKey(NamedTuple):
    """What is counted together: a plugin's route and service, and which of its limits if it has
    several that have names."""

    route_id: UUID | None
    service_id: UUID | None
    limit: str | None = None


class Count(NamedTuple):
    """So much more for somebody, in the window of a period that begins at ``start``.

    All times are seconds, those of the window since the epoch. ``length_s`` is what a window of the
    period counts as. An ``amount`` of 0 only asks.
    """

    scope: ScopeKey
    key: Key
    period: str
    length_s: int
    start: float
    end: float
    amount: int


class Totals(NamedTuple):
    """What the counters are at, in the order they were told.

    None stands for one that has gone on to a later window. ``now`` is the time where they are kept,
    in seconds since the epoch; ``nodes`` how many nodes count there, 1 if nobody knows.
    """

    counted: Sequence[int | None]
    now: float
    nodes: int


class CounterStoreError(Exception):
    """The counters cannot be reached; the message says why."""


class CounterStore(Protocol):
    """Where they are kept."""

    @property
    def place(self) -> str:
        """Where that is, for the log."""
        ...

    async def add(self, counts: Sequence[Count]) -> Totals:
        """Add to counters, each at most once; with none, ask for the time.

        Takes one round trip. Raises CounterStoreError. After an error, or when cut short, they may
        have been added all the same.
        """
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...

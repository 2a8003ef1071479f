"""How sync is doing: written by the loop, read by the status listener, metrics and heartbeats."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.store.source import VersionMark


class SyncState(StrEnum):
    """What the last sync came to."""

    STARTING = "starting"
    SYNCED = "synced"
    DATABASE_UNAVAILABLE = "database unavailable"
    FAILING = "failing"


def _observe_nothing(duration_s: float, propagation_s: float | None) -> None:
    del duration_s, propagation_s


@dataclass(slots=True)
class SyncStatus:
    """State and counters since the start of the node.

    ``last_success`` and ``last_reported`` are by ``time.monotonic``: when the last sync that came
    to an end, and the last heartbeat that arrived, were begun. ``returned_at`` is when a heartbeat
    arrived after a silence, the first one included. ``last_propagation_s`` is the stale
    window as the node sees it: from the commit of the oldest change of an apply to the end of that
    apply, on the database's clock; None before the first one. ``observe_apply`` gets each apply's
    duration and propagation, None where everything was loaded and nothing can be said of single
    changes. ``loaded_from_disk``: what is served is from the disk copy, and no sync has succeeded
    since.
    """

    strategy: str
    state: SyncState = SyncState.STARTING
    applied: VersionMark | None = None
    loaded_from_disk: bool = False
    seen_version: int | None = None
    last_success: float | None = None
    last_reported: float | None = None
    returned_at: float | None = None
    last_error: str | None = None
    syncs: int = 0
    applies: int = 0
    full_loads: int = 0
    failures: int = 0
    strategy_restarts: int = 0
    strategy_problem: str | None = None
    last_apply_s: float | None = None
    last_propagation_s: float | None = None
    on_applied: list[Callable[[], None]] = field(default_factory=list)
    observe_apply: Callable[[float, float | None], None] = _observe_nothing

    def note_loaded_from_disk(self, mark: VersionMark, problem: str) -> None:
        """Note that the node starts from its disk copy, as there is a problem with its source."""
        self.applied = mark
        self.loaded_from_disk = True
        self.state = SyncState.DATABASE_UNAVAILABLE
        self.last_error = problem

    def stale_s(self) -> float:
        """Return for how long this node may have been behind, in seconds; infinity if always.

        As long as since its last sync, or since the cluster last heard of it if that is longer:
        writes that wait for the cluster stop waiting for a node that is not heard of. Until it is
        heard of again they have not waited for it, so what was synced before that does not count.
        """
        if self.last_success is None or self.last_reported is None or self.returned_at is None:
            return math.inf
        if self.last_success < self.returned_at:
            return math.inf
        return time.monotonic() - min(self.last_success, self.last_reported)

    def note_reported(self, began: float, silence_s: float) -> None:
        """Note that a heartbeat has arrived that was ``began`` then.

        :param silence_s: after so long without one, the cluster may have given this node up.
        """
        now = time.monotonic()
        if self.last_reported is None or now - self.last_reported > silence_s:
            self.returned_at = now
        self.last_reported = began

    def in_touch_s(self) -> float:
        """Return for how long the cluster has heard of this node without a silence, in seconds."""
        return 0.0 if self.returned_at is None else time.monotonic() - self.returned_at

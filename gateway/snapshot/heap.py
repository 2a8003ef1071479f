"""Keeps Python's garbage collector away from the snapshot, and from what requests learn of it.

A full collection visits every container that was not frozen: half a second or more with 100,000
routes, all of it on the event loop, and for nothing, since a snapshot has no cycles. Freezing takes
microseconds and only takes objects out of the collector's sight; counting references still frees
them. What must not happen is to freeze garbage of others that only the collector would find, so a
collection goes before, while there is little to visit. Requests and, on uvloop, connections leave
no such garbage.
"""

from __future__ import annotations

import gc

_ROWS_WORTH_A_COLLECTION = 1000
_KEPT_WORTH_A_COLLECTION = 400


class SnapshotHeap:
    """Told of the rows that were compiled, it freezes them in time."""

    def __init__(self) -> None:
        self._rows = 0

    def note_slice(self, rows: int) -> None:
        """Hear of rows compiled for a snapshot that is not finished yet."""
        self._rows += rows
        if self._rows > _ROWS_WORTH_A_COLLECTION:
            gc.freeze()

    def note_apply(self) -> None:
        """Hear that a snapshot is finished."""
        if self._rows > _ROWS_WORTH_A_COLLECTION:
            self._rows = 0
            gc.collect()
            gc.freeze()


class RequestHeap:
    """Told of things that stay, as requests leave some behind, it freezes hundreds at a time."""

    def __init__(self) -> None:
        self._kept = 0

    def note_kept(self, things: int = 1) -> None:
        """Hear of what will be there for long."""
        self._kept += things
        if self._kept >= _KEPT_WORTH_A_COLLECTION:
            self._kept = 0
            gc.collect()
            gc.freeze()

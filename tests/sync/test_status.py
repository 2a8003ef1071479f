"""How long a node may have been behind, by its syncs and by what the cluster has heard of it."""

from __future__ import annotations

import math
import time

import pytest

from gateway.sync.status import SyncStatus

SILENCE_S = 5.0


def status_at(*, synced: float | None, reported: float | None, returned: float | None) -> float:
    """``stale_s`` where these things happened so many seconds ago."""
    now = time.monotonic()
    ago = [None if seconds is None else now - seconds for seconds in (synced, reported, returned)]
    status = SyncStatus("poll", last_success=ago[0], last_reported=ago[1], returned_at=ago[2])
    return status.stale_s()


@pytest.mark.parametrize(
    ("synced", "reported", "returned", "stale"),
    [
        (None, None, None, math.inf),
        (1, None, None, math.inf),
        (None, 1, 1, math.inf),
        (1, 2, 60, 2),
        (3, 2, 60, 3),
        (2, 1, 1, math.inf),  # what was synced before the cluster heard of it again
        (1, 2, 2, 2),
    ],
)
def test_it_is_the_older_of_the_last_sync_and_the_last_heartbeat(
    synced: float | None, reported: float | None, returned: float | None, stale: float
) -> None:
    found = status_at(synced=synced, reported=reported, returned=returned)
    assert found == stale or found == pytest.approx(stale, abs=0.5)


def test_a_silence_begins_it_anew() -> None:
    status = SyncStatus("poll")
    assert status.in_touch_s() == 0
    began = time.monotonic()
    status.note_reported(began, SILENCE_S)
    first = status.returned_at
    assert first is not None
    status.note_reported(time.monotonic(), SILENCE_S)
    assert status.returned_at == first  # no silence between the two
    status.last_reported = began - SILENCE_S - 1
    status.note_reported(time.monotonic(), SILENCE_S)
    assert status.returned_at is not None
    assert status.returned_at > first

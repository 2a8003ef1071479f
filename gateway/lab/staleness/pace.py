"""How changes and probes are spread over time: pure arithmetic.

A change can only be followed until all nodes have it, which under a slow poll takes seconds. So
that many changes still take few minutes they overlap, each in a lane of its own: a service, a
route, and a connection to every probed node. Pauses are random, so that changes do not fall into
step with a poll.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_PAUSE_S = 0.06
TARGET_S = 120.0
"""What the changes of one strategy may take; if they would take longer they overlap."""

MOST_LANES = 32
LEAST_PROBE_GAP_S = 0.001
MOST_PROBES_PER_S = 2000
"""For all lanes and nodes together, so that probing leaves the machine to the cluster."""

LEAST_PATIENCE_S = 10.0
PATIENCE_WINDOWS = 5


@dataclass(frozen=True, slots=True)
class Pace:
    """When to do what, in seconds.

    ``most_pause_s`` bounds the pause between two changes of a lane, ``probe_gap_s`` lies between
    two requests of a probe, and after ``patience_s`` a change counts as missed.
    """

    lanes: int
    most_pause_s: float
    probe_gap_s: float
    patience_s: float


def pace(window_s: float, changes: int, probed_nodes: int) -> Pace:
    """Return the pace for changes whose stale window is at most about ``window_s``."""
    most_pause_s = LEAST_PAUSE_S + window_s
    one_change_s = (LEAST_PAUSE_S + most_pause_s) / 2 + window_s
    lanes = min(max(1, math.ceil(changes * one_change_s / TARGET_S)), changes, MOST_LANES)
    return Pace(
        lanes=lanes,
        most_pause_s=most_pause_s,
        probe_gap_s=max(LEAST_PROBE_GAP_S, lanes * probed_nodes / MOST_PROBES_PER_S),
        patience_s=max(LEAST_PATIENCE_S, PATIENCE_WINDOWS * window_s),
    )

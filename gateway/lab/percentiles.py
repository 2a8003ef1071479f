"""Percentiles of measured values: the nearest rank, nothing in between is made up."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that at least so many percent of the ordered values do not exceed.

    None of no values.
    """
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

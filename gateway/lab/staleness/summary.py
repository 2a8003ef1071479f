"""Figures from results: pure statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from gateway.lab.percentiles import percentile
from gateway.lab.staleness.result import MeasuredChange, StrategyResult


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one strategy: windows in ms over all nodes and changes; None if unknown.

    ``stale_answers`` is the mean per change and node, ``missed`` how often a node never showed a
    change, ``own_p50_ms`` the median estimated from the nodes' own histogram, and
    ``resolution_ms`` the median of what lies between two probes.
    """

    observed: int
    missed: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    stale_answers: float | None
    failed_answers: int
    resolution_ms: float | None
    own_p50_ms: float | None


def summarize(result: StrategyResult) -> Summary:
    """Return the figures of one strategy."""
    observations = list(result.observations())
    windows = sorted(o.window_ms for o in observations if o.window_ms is not None)
    gaps = [o.resolution_ms for o in observations if o.resolution_ms is not None]
    return Summary(
        observed=len(windows),
        missed=len(observations) - len(windows),
        p50_ms=percentile(windows, 50),
        p90_ms=percentile(windows, 90),
        p99_ms=percentile(windows, 99),
        max_ms=windows[-1] if windows else None,
        stale_answers=fmean(o.stale_answers for o in observations) if observations else None,
        failed_answers=sum(o.failed_answers for o in observations),
        resolution_ms=median(gaps) if gaps else None,
        own_p50_ms=histogram_quantile(result.own_windows, 0.5),
    )


def histogram_quantile(cumulative: Mapping[float, int], quantile: float) -> float | None:
    """Estimate a quantile from counts by upper bound, as Prometheus does: straight between bounds.

    Beyond the last finite bound there is nothing to go by, so that bound is returned.
    """
    bounds = sorted(cumulative)
    total = cumulative[bounds[-1]] if bounds else 0
    if not total:
        return None
    rank = quantile * total
    for lower, upper in pairwise([0.0, *bounds]):
        if cumulative[upper] >= rank:
            if math.isinf(upper):
                return lower
            below = cumulative.get(lower, 0)
            inside = cumulative[upper] - below
            return lower + (upper - lower) * ((rank - below) / inside if inside else 1.0)
    raise AssertionError("the last bound holds all")


def typical(changes: Sequence[MeasuredChange]) -> MeasuredChange | None:
    """Return the change of median window, to be shown for all; None if none was seen everywhere."""
    seen = [change for change in changes if change.window_ms is not None]
    ordered = sorted(seen, key=lambda change: (change.window_ms or 0.0, change.number))
    return ordered[len(ordered) // 2] if ordered else None

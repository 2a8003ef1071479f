"""How long applies took and how stale the node was: two histograms, in milliseconds."""

from __future__ import annotations

from gateway.metrics.traffic import Bounds, new_histogram, observe

BUCKETS_MS: Bounds = (1, 2, 5, 10, 20, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)


class ApplyMetrics:
    """Fed by the sync loop after each apply."""

    def __init__(self) -> None:
        self.duration_ms = new_histogram(BUCKETS_MS)
        self.propagation_ms = new_histogram(BUCKETS_MS)

    def observe(self, duration_s: float, propagation_s: float | None) -> None:
        """Count one apply: its duration, and the stale window it ended (None: unknown)."""
        observe(self.duration_ms, BUCKETS_MS, duration_s * 1000)
        if propagation_s is not None:
            observe(self.propagation_ms, BUCKETS_MS, propagation_s * 1000)

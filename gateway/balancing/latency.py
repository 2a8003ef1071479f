"""Latency: whoever is expected to answer first, by a moving average that rises at once (peak EWMA).

Source: ``balancer.md`` section 3. Each endpoint's average decays by the half in about seven
seconds, so that one that was slow is tried again. What is compared is that average times the tries
in flight, for its weight: without the latter all requests would go to the best until its first
response is back.

All averages decay by the same factor, so that their order stays the same while time passes. They
are compared by logarithms, to which a decay is an offset: ``level`` is ``log(average) + t / decay``
for the moment ``t`` of measurement. So a pick has no need of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log

from gateway.balancing.balancer import TryEnd
from gateway.balancing.endpoint import Endpoint
from gateway.balancing.lowest_score import LowestScore

DECAY_S = 10.0
"""Within this time an average decays to 1/e."""

FAILED_S = 1.0
"""What a failure counts for at least: to refuse a connection at once is no merit."""

_SHORTEST_S = 1e-6


class Latency(LowestScore):
    """Picks the lowest of ``average latency * (in flight + 1) / weight``."""

    __slots__ = ()

    def arrange(self, endpoints: Sequence[Endpoint]) -> None:
        """Let new endpoints start with the mean of the others; see `Balancer.arrange`."""
        _start(endpoints, [e.level for e in endpoints if e.measured_at is not None])
        super().arrange(endpoints)

    def score(self, endpoint: Endpoint) -> float:
        """Return the logarithm of what is expected, but for what is the same for all."""
        return endpoint.level + log((endpoint.in_flight + 1) / endpoint.weight)

    def when_all_failed(self, endpoints: Iterable[Endpoint]) -> Iterable[Endpoint]:
        """Return none: the sheet has no further try."""
        del endpoints
        return ()

    def ended(self, endpoint: Endpoint, end: TryEnd) -> None:
        """Learn from a response how long it took, or from a failure."""
        if end.status or end.failure is not None:
            took_s = end.took_s if end.failure is None else max(end.took_s, FAILED_S)
            self._measure(endpoint, end.now, max(took_s, _SHORTEST_S))
        super().ended(endpoint, end)

    def _measure(self, endpoint: Endpoint, now: float, took_s: float) -> None:
        """Move the average: at once to what is longer, with time to what is shorter."""
        before = endpoint.measured_at
        if before is None:
            endpoint.latency_s = took_s
        else:
            kept = exp(-max(now - before, 0.0) / DECAY_S)
            moved = endpoint.latency_s * kept + took_s * (1 - kept)
            endpoint.latency_s = max(moved, took_s)
        endpoint.measured_at = now
        endpoint.level = log(endpoint.latency_s) + now / DECAY_S
        if before is None and not any(e.measured_at for e in self._endpoints if e is not endpoint):
            self._begin_with(endpoint.level)

    def _begin_with(self, level: float) -> None:
        """Let all start with the very first measurement: nobody is preferred for being unknown."""
        _start(self._endpoints, [level])
        for endpoint in self._endpoints:
            endpoint.score = self.score(endpoint)


def _start(endpoints: Iterable[Endpoint], levels: Sequence[float]) -> None:
    """Give what was never measured the mean of what was, the geometric one of the averages."""
    mean = sum(levels) / len(levels) if levels else 0.0
    for endpoint in endpoints:
        if endpoint.measured_at is None:
            endpoint.level = mean

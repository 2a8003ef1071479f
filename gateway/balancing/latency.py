"""Latency: whoever is expected to answer first, by a moving average that rises at once (peak EWMA).

Source: ``balancer.md`` section 3. What is compared is the average of an endpoint times its tries in
flight, for its weight: without the latter all requests would go to the best until its first
response is back. An average decays with time, so that who was slow is tried again.

As all averages decay by the same factor, their order stays the same while time passes. So a pick
has no need of the time: instead of old averages sinking, new ones are raised, by as much as the
old ones would have sunk since a moment of ``origin``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp

from gateway.balancing.balancer import Failure
from gateway.balancing.endpoint import Endpoint
from gateway.balancing.lowest_score import LowestScore

DECAY_S = 10.0
"""Within this time an average decays to 1/e."""

FAILED_S = 1.0
"""What a failure counts for at least: to refuse a connection at once is no merit."""

_SELDOM_S = 0.01
"""Shorter times than the average are taken note of no more often: none of them weighs much."""

_MOST_DECAYS = 100.0
"""How far the origin may lie back, so that raised averages stay within what a float can hold."""


class Latency(LowestScore):
    """Picks the lowest of ``average latency * (in flight + 1) / weight``."""

    __slots__ = ("_origin",)

    def __init__(self) -> None:
        super().__init__()
        self._origin = 0.0

    def steps(self, endpoints: Sequence[Endpoint]) -> Iterable[tuple[Endpoint, float]]:
        """Return the averages by weight; who was never measured has the mean of the others."""
        self._origin = max((e.measured_at or 0.0 for e in endpoints), default=0.0)
        averages = {e: e.latency_s * self._raise(e.measured_at) for e in endpoints if e.measured_at}
        mean = sum(averages.values()) / len(averages) if averages else 1.0
        return [(e, averages.get(e, mean) / e.weight) for e in endpoints]

    def _raise(self, measured_at: float) -> float:
        return exp((measured_at - self._origin) / DECAY_S)

    def when_all_failed(self, endpoints: list[Endpoint]) -> list[Endpoint]:
        """Return none: the sheet has no further try."""
        del endpoints
        return []

    def answered(self, endpoint: Endpoint, status: int, at: float, took_s: float) -> None:
        """Learn how long a response took: at once if longer than before, else with time."""
        del status
        in_flight = endpoint.in_flight
        endpoint.in_flight = in_flight - 1
        before, latency_s = endpoint.measured_at, endpoint.latency_s
        if before is not None and took_s <= latency_s:
            if at - before < _SELDOM_S:
                endpoint.scores[endpoint.place] = in_flight * endpoint.step
                return
            took_s += (latency_s - took_s) * exp((before - at) / DECAY_S)
        endpoint.latency_s = took_s
        endpoint.measured_at = at
        decays = (at - self._origin) / DECAY_S
        if before is None or decays > _MOST_DECAYS or not endpoint.weight:
            self._set_steps()  # others may have had nothing to be compared with
        else:
            endpoint.step = step = took_s * exp(decays) / endpoint.weight
            endpoint.scores[endpoint.place] = in_flight * step

    def failed(
        self, endpoint: Endpoint, failure: Failure, at: float, took_s: float, *, is_last: bool
    ) -> None:
        """Learn how long it took to fail."""
        del failure, is_last
        self.answered(endpoint, 0, at, max(took_s, FAILED_S))

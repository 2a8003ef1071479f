"""Whether an endpoint may have traffic: a state machine fed with reports of successes and failures.

Source: ``balancer.md`` section 6.2. Reports of probes and of traffic are counted together, each
against the limits of its side.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class State(Enum):
    """What is thought of an endpoint: with pending failures or successes, it is only mostly so."""

    HEALTHY = "healthy"
    MOSTLY_HEALTHY = "mostly_healthy"
    UNHEALTHY = "unhealthy"
    MOSTLY_UNHEALTHY = "mostly_unhealthy"

    @property
    def is_available(self) -> bool:
        """Whether it may have traffic."""
        return self in (State.HEALTHY, State.MOSTLY_HEALTHY)


class Report(IntEnum):
    """What is said of an endpoint."""

    SUCCESS = 0
    HTTP_FAILURE = 1
    TCP_FAILURE = 2
    TIMEOUT = 3


class Limits(NamedTuple):
    """How many reports of each kind it takes, in the order of `Report`; 0: they do not count."""

    successes: int = 0
    http_failures: int = 0
    tcp_failures: int = 0
    timeouts: int = 0


class Health:
    """State and counters of one endpoint; ``counts`` are in the order of `Report`."""

    __slots__ = ("counts", "state")

    def __init__(self) -> None:
        self.force(healthy=True)

    def force(self, *, healthy: bool) -> None:
        """Be in this state, whatever was reported."""
        self.state = State.HEALTHY if healthy else State.UNHEALTHY
        self.counts = [0, 0, 0, 0]

    @property
    def is_pristine(self) -> bool:
        """Whether this is how all begin."""
        return self.state is State.HEALTHY and not any(self.counts)

    def hear(self, report: Report, limits: Limits) -> None:
        """Count a report, by the limits of the side that it comes from."""
        limit = limits[report]
        if not limit:
            return
        if report is Report.SUCCESS:
            self._hear_success(limit)
        else:
            self._hear_failure(report, limit)

    def _hear_success(self, limit: int) -> None:
        if self.state is State.HEALTHY:
            return
        self.counts = [self.counts[Report.SUCCESS] + 1, 0, 0, 0]
        if self.counts[Report.SUCCESS] >= limit:
            self.state = State.HEALTHY
        elif self.state is State.UNHEALTHY:
            self.state = State.MOSTLY_UNHEALTHY

    def _hear_failure(self, report: Report, limit: int) -> None:
        if self.state is State.UNHEALTHY:
            return
        self.counts[Report.SUCCESS] = 0
        self.counts[report] += 1
        if self.counts[report] >= limit:
            self.state = State.UNHEALTHY
        elif self.state is State.HEALTHY:
            self.state = State.MOSTLY_HEALTHY

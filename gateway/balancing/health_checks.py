"""How the health of endpoints is found out: what counts as success or failure, and what is probed.

Source: ``balancer.md`` section 6.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.balancing.health import Limits, Report

_BAD_GATEWAY = 502


@dataclass(frozen=True, slots=True)
class Criteria:
    """How one side, probes or traffic, judges.

    ``reports`` says what a status counts for; None if connections count, whatever is said there.
    """

    limits: Limits
    reports: Mapping[int, Report] | None = None

    @classmethod
    def by_status(
        cls, limits: Limits, healthy: Collection[int], unhealthy: Collection[int]
    ) -> Criteria:
        """Judge by status; what is in neither list, or is not counted, says nothing."""
        reports = dict.fromkeys(unhealthy, Report.HTTP_FAILURE)
        reports |= dict.fromkeys(healthy, Report.SUCCESS)
        return cls(limits, {status: of for status, of in reports.items() if limits[of]})

    def of_status(self, status: int) -> Report | None:
        """Return what a response says of an endpoint, None for nothing."""
        return Report.SUCCESS if self.reports is None else self.reports.get(status)

    @property
    def of_last_failure(self) -> Report | None:
        """What it says when a request fails without a further try: its client is told 502."""
        return Report.TCP_FAILURE if self.reports is None else self.reports.get(_BAD_GATEWAY)


@dataclass(frozen=True, slots=True)
class Probes:
    """How endpoints are probed: those that are available at one interval, the others at another.

    An interval of 0 means that they are not. A probe is a connection, with ``tls`` also a
    handshake, and unless ``path`` is None a request. ``headers`` are lines, each led by CRLF;
    ``host`` is the Host header, which is otherwise the endpoint's host. At most ``concurrency``
    are going on at once. Each step of a probe has ``timeout_s``.
    """

    criteria: Criteria
    healthy_interval_s: float
    unhealthy_interval_s: float
    timeout_s: float
    concurrency: int
    tls: bool = False
    server_name: str | None = None
    verify: bool = True
    path: str | None = None
    headers: str = ""
    host: str | None = None

    def interval_s(self, *, available: bool) -> float:
        """Return how often an endpoint is probed; 0 for never."""
        return self.healthy_interval_s if available else self.unhealthy_interval_s


@dataclass(frozen=True, slots=True)
class HealthChecks:
    """What an upstream entity asks for; ``probes`` is None if it asks for none."""

    traffic: Criteria
    probes: Probes | None

"""What becomes of traffic, told as reports on health (balancer.md section 6.4)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.balancing.balancer import Failure, Listener
from gateway.balancing.endpoint import Endpoint
from gateway.balancing.health import Limits, Report, State
from gateway.balancing.health_checks import Criteria

_SUCCESS, _HEALTHY = Report.SUCCESS, State.HEALTHY

Hear = Callable[[Endpoint, Report, Limits, str], None]
"""Takes a report of one side on an endpoint, and in words what it is about."""


class Witness:
    """Listens to how tries end; ``then`` is who has to hear of it as well."""

    __slots__ = ("_criteria", "_hear", "_then")

    def __init__(self, criteria: Criteria, hear: Hear, then: Listener | None) -> None:
        self._criteria = criteria
        self._hear = hear
        self._then = then

    def answered(self, endpoint: Endpoint, status: int, at: float, took_s: float) -> None:
        """Report what the status says."""
        if self._then is not None:
            self._then.answered(endpoint, status, at, took_s)
        report = self._criteria.of_status(status)
        if report is None or (report is _SUCCESS and endpoint.health.state is _HEALTHY):
            return  # as for most of all requests
        self._hear(endpoint, report, self._criteria.limits, f"traffic: status {status}")

    def failed(
        self, endpoint: Endpoint, failure: Failure, at: float, took_s: float, *, is_last: bool
    ) -> None:
        """Report a timeout, or a failure that another try follows; else what a 502 says."""
        if self._then is not None:
            self._then.failed(endpoint, failure, at, took_s, is_last=is_last)
        limits = self._criteria.limits
        if failure is Failure.TIMEOUT:
            self._hear(endpoint, Report.TIMEOUT, limits, "traffic: timed out")
            return
        report = self._criteria.of_last_failure if is_last else Report.TCP_FAILURE
        if report is not None:
            self._hear(endpoint, report, limits, "traffic: no response")

    def left(self, endpoint: Endpoint) -> None:
        """Report nothing."""
        if self._then is not None:
            self._then.left(endpoint)

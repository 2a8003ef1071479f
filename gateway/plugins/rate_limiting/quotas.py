"""The limits of a config, and what clients are told of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil

from gateway.plugins.rate_limiting.config import Limits
from gateway.plugins.rate_limiting.counters import Window
from gateway.plugins.rate_limiting.periods import Period

TOLD = re.compile(
    rb"(?i)\r\n(?:X-RateLimit-(?:Limit|Remaining)-(?:Second|Minute|Hour|Day|Month|Year)"
    rb"|RateLimit-(?:Limit|Remaining|Reset)):[^\r]*+"
)
"""What a service may tell of limits of its own; the client hears of ours."""


class Quota:
    """The limit of one period: so many requests in each of its windows.

    ``template`` are the header lines while this quota is the scarcest: it takes what is left of
    each, what is left of this, and the seconds until its next window; ``template_now`` has the
    latter as of the moment that was noted last.
    """

    __slots__ = ("limit", "period", "template", "template_now", "window")

    window: Window
    template: bytes
    template_now: bytes

    def __init__(self, period: Period, limit: float) -> None:
        self.period = period
        self.limit = ceil(limit)

    def reset_s(self, now: float) -> int:
        """Return the seconds until the next window, 1 at least."""
        return max(1, self.period.length_s - int(now - self.window.start))

    def note_time(self, now: float) -> None:
        """Have the seconds until the next window in ``template_now``."""
        before, _, _ = self.template.rpartition(b"%d")
        self.template_now = before + b"%d" % self.reset_s(now)


def quotas_of(config: Limits) -> list[Quota]:
    """Return the quotas that a config asks for, the shortest first."""
    quotas = [Quota(period, limit) for period, limit in config.limits]
    for quota in quotas:
        quota.template = _template(quotas, quota)
    return quotas


def refusal_lines(quotas: Sequence[Quota], lefts: Sequence[int], now: float) -> bytes:
    """Return what a refused client is told; ``lefts`` are less by the request itself.

    As that does not count, the quotas that are not reached keep what is left.
    """
    lines, reset_s = told_lines(quotas, [0 if left < 0 else left + 1 for left in lefts], now)
    return lines + b"\r\nRetry-After: %d" % reset_s


def told_lines(quotas: Sequence[Quota], lefts: Sequence[int], now: float) -> tuple[bytes, int]:
    """Return what a client is told is left, and the seconds until there is more."""
    fewest, scarcest = min(zip(lefts, quotas, strict=True), key=_scarcity)
    reset_s = scarcest.reset_s(now)
    return scarcest.template % (*lefts, fewest, reset_s), reset_s


def _scarcity(left_of: tuple[int, Quota]) -> tuple[int, int]:
    left, quota = left_of
    return left, -quota.period.length_s


def _template(quotas: Sequence[Quota], scarcest: Quota) -> bytes:
    of_periods = "".join(
        f"\r\nX-RateLimit-Limit-{quota.period.name.title()}: {quota.limit}"
        f"\r\nX-RateLimit-Remaining-{quota.period.name.title()}: %d"
        for quota in quotas
    )
    of_scarcest = (
        f"\r\nRateLimit-Limit: {scarcest.limit}\r\nRateLimit-Remaining: %d\r\nRateLimit-Reset: %d"
    )
    return (of_periods + of_scarcest).encode()

"""The plugin itself: sees what is left, counts or refuses, and tells the client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil
from typing import Any

from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.rate_limiting.config import Limits
from gateway.plugins.rate_limiting.counters import Counters, Scope, Window
from gateway.plugins.rate_limiting.identifiers import identify_by
from gateway.plugins.rate_limiting.periods import Period
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.plugins.response import Response

_NOTE = "rate-limiting"
_TOLD = re.compile(
    rb"(?i)\r\n(?:X-RateLimit-(?:Limit|Remaining)-(?:Second|Minute|Hour|Day|Month|Year)"
    rb"|RateLimit-(?:Limit|Remaining|Reset)):[^\r]*+"
)
"""What a service may tell of limits of its own; the client hears of ours."""


class Quota:
    """The limit of one period: so many requests in each of its windows.

    ``template`` are the header lines while this quota is the scarcest: it takes what is left of
    each, what is left of this, and the seconds until its next window.
    """

    __slots__ = ("limit", "period", "template", "window")

    window: Window
    template: bytes

    def __init__(self, period: Period, limit: float) -> None:
        self.period = period
        self.limit = ceil(limit)

    def reset_s(self, now: float) -> int:
        """Return the seconds until the next window, 1 at least."""
        return max(1, self.period.length_s - int(now - self.window.start))


class RateLimiting(Plugin):
    """Refuses the requests of those who ask too often."""

    name = "rate-limiting"
    priority = 910

    class Config(Limits):
        """How many requests from whom are let through."""

    config: Config
    shared: Counters
    _scope: Scope

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._clock = self.shared.clock
        self._identify = identify_by(config)
        self._quotas = [Quota(period, limit) for period, limit in config.limits]
        for quota in self._quotas:
            quota.template = _template(self._quotas, quota)
        self._tells = not config.hide_client_headers
        self._refusal = refuse(config.error_code, config.error_message)

    @classmethod
    def share(cls, node: NodeServices) -> Counters:
        """Return the counters of the node."""
        counters = Counters()
        node.begin("rate-limiting-sweep", counters.sweep())
        return counters

    def set_up(self) -> None:
        """Find the counters of this scope, as the object before this one has left them."""
        self._scope = self.shared.enter((self.use.route_id, self.use.service_id))
        for quota in self._quotas:
            quota.window = self._scope.window(quota.period)

    def clean_up(self) -> None:
        """Need them no more."""
        self.shared.leave((self.use.route_id, self.use.service_id))

    def access(self, request: Request) -> Reply | None:
        """Count the request, unless one of the limits is reached."""
        now = self._clock()
        scope = self._scope
        if not scope.began_at <= now < scope.turns_at:
            scope.turn(now)
        key = self._identify(request)
        quotas = self._quotas
        scarcest = quotas[0]
        fewest = scarcest.limit
        lefts = []
        for quota in quotas:
            left = quota.limit - 1 - quota.window.counts.get(key, 0)
            if left <= fewest:  # of as many, the longer period
                fewest, scarcest = left, quota
            lefts.append(left)
        if fewest < 0:
            return self._refuse(request, lefts, now)
        for quota in quotas:
            counts = quota.window.counts
            if key in counts:
                counts[key] += 1
            else:
                self.shared.admit()
                counts[key] = 1
        if self._tells:
            numbers = (*lefts, fewest, scarcest.reset_s(now))
            request.context[_NOTE] = scarcest.template % numbers
        return None

    def header_filter(self, request: Request, response: Response) -> None:
        """Tell the client what is left."""
        if self._tells:
            lines = response.lines
            if b"imit-" in lines or b"IMIT-" in lines:
                lines = _TOLD.sub(b"", lines)
            response.lines = lines + request.context.get(_NOTE, b"")

    def _refuse(self, request: Request, lefts: Sequence[int], now: float) -> Reply:
        """Answer that a limit is reached; nothing is counted, so the others keep what is left."""
        if self._tells:
            shown = [0 if left < 0 else left + 1 for left in lefts]
            each = zip(shown, self._quotas, strict=True)
            fewest, scarcest = min(each, key=_scarcity)
            reset_s = scarcest.reset_s(now)
            lines = scarcest.template % (*shown, fewest, reset_s)
            request.context[_NOTE] = lines + b"\r\nRetry-After: %d" % reset_s
        return self._refusal


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

"""The policy ``local``: each node counts what it serves itself."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.plugins.contract import Use
from gateway.plugins.rate_limiting.config import Limits
from gateway.plugins.rate_limiting.counters import Counters, Scope
from gateway.plugins.rate_limiting.identifiers import identify_by
from gateway.plugins.rate_limiting.quotas import NOTE, TOLD, quotas_of, refusal_lines
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.plugins.response import Response


class LocalLimiting:
    """Counts in the memory of the node."""

    _scope: Scope

    def __init__(self, config: Limits, use: Use, counters: Counters) -> None:
        self._counters = counters
        self._key = use.route_id, use.service_id
        self._clock = counters.clock
        self._identify = identify_by(config)
        self._quotas = quotas_of(config)
        self._tells = not config.hide_client_headers
        self._refusal = refuse(config.error_code, config.error_message)

    def set_up(self) -> None:
        """Find the counters of this scope, as the object before this one has left them."""
        self._scope = self._counters.enter(self._key)
        for quota in self._quotas:
            quota.window = self._scope.window(quota.period)

    def clean_up(self) -> None:
        """Need them no more."""
        self._counters.leave(self._key)

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
                self._counters.admit()
                counts[key] = 1
        if self._tells:
            numbers = (*lefts, fewest, scarcest.reset_s(now))
            request.context[NOTE] = scarcest.template % numbers
        return None

    def header_filter(self, request: Request, response: Response) -> None:
        """Tell the client what is left."""
        if self._tells:
            lines = response.lines
            if b"imit-" in lines or b"IMIT-" in lines:
                lines = TOLD.sub(b"", lines)
            response.lines = lines + request.context.get(NOTE, b"")

    def _refuse(self, request: Request, lefts: Sequence[int], now: float) -> Reply:
        """Answer that a limit is reached; nothing is counted."""
        if self._tells:
            request.context[NOTE] = refusal_lines(self._quotas, lefts, now)
        return self._refusal

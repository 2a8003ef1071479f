"""What is the same wherever is counted: whose counters, what of them is told, and refusals."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.plugins.contract import Use
from gateway.plugins.counter_store import ScopeKey
from gateway.plugins.rate_limiting.config import Limits
from gateway.plugins.rate_limiting.counters import Counters, Scope
from gateway.plugins.rate_limiting.identifiers import identify_by
from gateway.plugins.rate_limiting.quotas import NOTE, TOLD, quotas_of, refusal_lines, tells_limits
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.plugins.response import Response

UNCOUNTED = refuse(500, "An unexpected error occurred")
"""For requests that may not pass while they cannot be counted."""


class Limiting:
    """Base of the policies, each of which has an ``access`` of its own."""

    _scope: Scope

    def __init__(self, config: Limits, use: Use, counters: Counters) -> None:
        self._counters = counters
        self._key = ScopeKey(use.route_id, use.service_id)
        self._clock = counters.clock
        self._identify = identify_by(config.limit_by, config.header_name, config.path)
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

    def header_filter(self, request: Request, response: Response) -> None:
        """Tell the client what is left."""
        if self._tells:
            lines, original = response.lines, response.original
            if original is not None and tells_limits(original):
                lines = TOLD.sub(b"", lines)
            response.lines = lines + request.context.get(NOTE, b"")

    def _turn(self) -> float:
        """Return what time it is, with all windows at that."""
        now = self._clock()
        if not self._scope.began_at <= now < self._scope.turns_at:
            self._scope.turn(now)
        return now

    def _refuse(self, request: Request, lefts: Sequence[int], now: float) -> Reply:
        """Answer that a limit is reached; nothing is counted."""
        if self._tells:
            request.context[NOTE] = refusal_lines(self._quotas, lefts, now)
        return self._refusal

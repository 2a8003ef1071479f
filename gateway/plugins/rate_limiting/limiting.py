"""What is the same wherever is counted: whose counters, what of them is told, and refusals.

And what is the same wherever is counted together with other nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.plugins.contract import Use
from gateway.plugins.counter_store import ScopeKey
from gateway.plugins.rate_limiting.config import Limits
from gateway.plugins.rate_limiting.counters import Counters, Scope
from gateway.plugins.rate_limiting.identifiers import identify_by
from gateway.plugins.rate_limiting.quotas import TOLD, quotas_of, refusal_lines
from gateway.plugins.rate_limiting.settler import Settler
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request

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

    def _refuse(self, request: Request, lefts: Sequence[int], now: float) -> Reply:
        """Answer that a limit is reached; nothing is counted."""
        if self._tells:
            request.tell(refusal_lines(self._quotas, lefts, now), TOLD)
        return self._refusal


class LimitingTogether(Limiting):
    """Base of the policies that count together with other nodes, by a settler."""

    def __init__(self, config: Limits, use: Use, settler: Settler) -> None:
        super().__init__(config, use, settler.ledger.counters)
        self._settler = settler
        self._is_tolerant = config.fault_tolerant

    def set_up(self) -> None:
        """Begin to need the way to the others."""
        super().set_up()
        self._settler.enter()

    def clean_up(self) -> None:
        """Need it no more."""
        self._settler.leave()
        super().clean_up()

    def _turn(self) -> float:
        """Return what time it is, with all windows at that."""
        now = self._clock()
        self._scope.turn(now)
        return now

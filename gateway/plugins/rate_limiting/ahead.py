"""Counting ahead: requests pass by what the node knows, and are settled with the others later.

The policy ``cluster``, and ``redis`` with a ``sync_rate``.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.plugins.contract import Use
from gateway.plugins.counter_store import Key
from gateway.plugins.rate_limiting.config import Limits
from gateway.plugins.rate_limiting.limiting import UNCOUNTED, LimitingTogether
from gateway.plugins.rate_limiting.quotas import TOLD, told_lines
from gateway.plugins.rate_limiting.settler import Settler
from gateway.plugins.reply import Reply
from gateway.plugins.request import Request


class LimitingAhead(LimitingTogether):
    """Counts in a ledger."""

    def __init__(self, config: Limits, use: Use, settler: Settler) -> None:
        super().__init__(config, use, settler)
        self._ledger = settler.ledger

    def access(self, request: Request) -> Reply | None:
        """Count the request, unless one of the limits is reached."""
        now = self._turn()
        key = self._identify(request)
        if self._settler.is_away:
            return self._go_without(key)
        quotas = self._quotas
        lefts = [quota.limit - 1 - quota.window.counts.get(key, 0) for quota in quotas]
        if min(lefts) < 0:
            return self._refuse(request, lefts, now)
        for quota, left in zip(quotas, lefts, strict=True):
            if not self._ledger.may_go_ahead(quota.window, key, left + 1):
                return self._hold(request, lefts, now)
        self._count(key)
        if self._tells:
            request.tell(told_lines(quotas, lefts, now)[0], TOLD)
        return None

    def _count(self, key: Key) -> None:
        for quota in self._quotas:
            self._ledger.count(quota.window, key)

    def _hold(self, request: Request, lefts: Sequence[int], now: float) -> Reply:
        """Refuse for the moment: there is something left, but others may want it too."""
        if self._tells:
            lines, _ = told_lines(self._quotas, [left + 1 for left in lefts], now)
            request.tell(lines + b"\r\nRetry-After: 1", TOLD)
        return self._refusal

    def _go_without(self, key: Key) -> Reply | None:
        """Let a request pass that cannot be counted with the others, if that may be.

        It is counted all the same: the others hear of it when they can.
        """
        if not self._is_tolerant:
            return UNCOUNTED
        self._count(key)
        return None

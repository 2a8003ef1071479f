"""Asking first: each request waits until it is counted together with those of other nodes.

The policy ``redis`` without a ``sync_rate``. As reading counts, what is refused counts as well.
"""

from __future__ import annotations

from gateway.plugins.counter_store import CounterStoreError
from gateway.plugins.rate_limiting.limiting import UNCOUNTED, LimitingTogether
from gateway.plugins.rate_limiting.quotas import TOLD, told_lines
from gateway.plugins.reply import Reply
from gateway.plugins.request import Request


class LimitingByAsking(LimitingTogether):
    """Counts where the others count."""

    async def access(self, request: Request) -> Reply | None:
        """Count the request, and refuse it if one of the limits was reached before."""
        now = self._turn()
        key = self._identify(request)
        try:
            totals = await self._settler.add(
                [quota.window.so_many(key, 1) for quota in self._quotas]
            )
        except CounterStoreError:
            return None if self._is_tolerant else UNCOUNTED
        lefts = [
            quota.limit - (counted or 0)
            for quota, counted in zip(self._quotas, totals.counted, strict=True)
        ]
        if min(lefts) < 0:
            return self._refuse(request, lefts, now)
        if self._tells:
            request.tell(told_lines(self._quotas, lefts, now)[0], TOLD)
        return None

"""The policy ``local``: each node counts what it serves itself."""

from __future__ import annotations

from gateway.plugins.rate_limiting.limiting import Limiting
from gateway.plugins.rate_limiting.quotas import NOTE
from gateway.plugins.reply import Reply
from gateway.plugins.request import Request


class LocalLimiting(Limiting):
    """Counts in the memory of the node."""

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

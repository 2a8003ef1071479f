"""The policy ``local``: each node counts what it serves itself."""

from __future__ import annotations

from gateway.plugins.counter_store import Key
from gateway.plugins.rate_limiting.limiting import Limiting
from gateway.plugins.rate_limiting.quotas import TOLD, Quota
from gateway.plugins.reply import Reply
from gateway.plugins.request import Request


class LocalLimiting(Limiting):
    """Counts in the memory of the node."""

    _second_ends_at = 0.0
    """Until then the windows are right, and what is told of their ends."""

    def access(self, request: Request) -> Reply | None:
        """Count the request, unless one of the limits is reached."""
        now = self._clock()
        if not -1 <= now - self._second_ends_at < 0:
            self._begin_second(now)
        key = self._identify(request)
        quotas = self._quotas
        scarcest = quotas[0]
        fewest = scarcest.limit
        lefts = []
        for quota in quotas:
            counts = quota.window.counts
            counted = counts.get(key, 0) + 1
            left = quota.limit - counted
            if left < 0:
                return self._refuse_by(quota, key, request, now)
            if counted == 1:
                self._counters.admit()
            counts[key] = counted
            if left <= fewest:  # of as many, the longer period
                fewest, scarcest = left, quota
            lefts.append(left)
        if self._tells:
            request.tell(scarcest.template_now % (*lefts, fewest), TOLD)
        return None

    def _begin_second(self, now: float) -> None:
        self._second_ends_at = now // 1 + 1
        self._scope.turn(now)
        for quota in self._quotas:
            quota.note_time(now)

    def _refuse_by(self, reached: Quota, key: Key, request: Request, now: float) -> Reply:
        """Refuse a request, which then does not count for the quotas before that either."""
        for quota in self._quotas[: self._quotas.index(reached)]:
            self._counters.take_back(quota.window, key)
        lefts = [quota.limit - 1 - quota.window.counts.get(key, 0) for quota in self._quotas]
        return self._refuse(request, lefts, now)

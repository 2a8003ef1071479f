"""What all objects of a plugin that counts have in common on a node: the counters."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import time
from weakref import WeakValueDictionary

from gateway.plugins.contract import NodeServices
from gateway.plugins.rate_limiting.counters import Counters
from gateway.plugins.rate_limiting.policy import Policy
from gateway.plugins.rate_limiting.redis_store import RedisCounters
from gateway.plugins.rate_limiting.settler import Settler

PAUSE_S = 0.02
"""Between two settlements, if nothing asks for a longer pause."""

_DATABASE_PATIENCE_S = 2.0
_PLUGIN_PATIENCE = 0.9
"""Of the time that a plugin has: it rather answers itself that it could not count."""


class CommonCounters:
    """The counters of this node alone are ``local``; those with other nodes have a settler each.

    ``clock`` tells the seconds since the epoch.
    """

    def __init__(self, node: NodeServices, clock: Callable[[], float] = time) -> None:
        self.local = Counters(clock)
        self._node = node
        self._clock = clock
        self._settlers: WeakValueDictionary[Hashable, Settler] = WeakValueDictionary()
        node.begin("sweep-counters", self.local.sweep())

    def settler(self, policy: Policy, pause_s: float = PAUSE_S) -> Settler:
        """Return the way to the counters of a policy other than ``local``. Raises ValueError."""
        key = (policy.policy, pause_s, policy.redis.model_dump_json())
        settler = self._settlers.get(key)
        if settler is None:
            make = self._with_database if policy.policy == "cluster" else self._with_redis
            settler = self._settlers[key] = make(policy, pause_s)
        return settler

    def _with_database(self, _: Policy, pause_s: float) -> Settler:
        store = self._node.counters
        if store is None:
            raise ValueError(
                "policy 'cluster' counts in the database, and a data plane has none: "
                "take 'redis', or 'local'"
            )
        return Settler(
            self._node,
            store,
            pause_s=pause_s,
            patience_s=_DATABASE_PATIENCE_S,
            clock=self._clock,
        )

    def _with_redis(self, policy: Policy, pause_s: float) -> Settler:
        most_s = _PLUGIN_PATIENCE * self._node.settings.plugin_timeout_s
        return Settler(
            self._node,
            RedisCounters(policy.redis),
            pause_s=pause_s,
            patience_s=min(policy.redis.timeout / 1000, most_s),
            is_thorough=True,
            clock=self._clock,
        )

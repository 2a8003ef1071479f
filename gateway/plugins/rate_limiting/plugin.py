"""The plugin itself: leaves the requests to how its policy counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.rate_limiting.ahead import LimitingAhead
from gateway.plugins.rate_limiting.asking import LimitingByAsking
from gateway.plugins.rate_limiting.common import CommonCounters
from gateway.plugins.rate_limiting.config import SYNCHRONOUS, Limits
from gateway.plugins.rate_limiting.local import LocalLimiting
from gateway.plugins.request import Request


class RateLimiting(Plugin):
    """Refuses the requests of those who ask too often."""

    name = "rate-limiting"
    priority = 910

    class Config(Limits):
        """How many requests from whom are let through."""

    def __init__(self, config: Config, use: Use, shared: CommonCounters) -> None:
        super().__init__(config, use, shared)
        self._limiting = _limiting(config, use, shared)
        self.access: Callable[[Request], Any] = self._limiting.access

    @classmethod
    def share(cls, node: NodeServices) -> CommonCounters:
        """Return the counters of the node."""
        return CommonCounters(node)

    def set_up(self) -> None:
        """Hear that requests may come from now on."""
        self._limiting.set_up()

    def clean_up(self) -> None:
        """Hear that no new request comes."""
        self._limiting.clean_up()


def _limiting(
    config: Limits, use: Use, counters: CommonCounters
) -> LocalLimiting | LimitingAhead | LimitingByAsking:
    """Return the way to count that a policy stands for. Raises ValueError."""
    if config.policy == "local":
        return LocalLimiting(config, use, counters.local)
    if config.policy == "cluster":
        return LimitingAhead(config, use, counters.settler(config))
    if config.sync_rate == SYNCHRONOUS:
        return LimitingByAsking(config, use, counters.settler(config))
    return LimitingAhead(config, use, counters.settler(config, config.sync_rate))

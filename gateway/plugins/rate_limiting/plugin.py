"""The plugin itself: leaves the requests to how its policy counts."""

from __future__ import annotations

from typing import Any

from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.rate_limiting.config import Limits
from gateway.plugins.rate_limiting.counters import Counters
from gateway.plugins.rate_limiting.local import LocalLimiting


class RateLimiting(Plugin):
    """Refuses the requests of those who ask too often."""

    name = "rate-limiting"
    priority = 910

    class Config(Limits):
        """How many requests from whom are let through."""

    def __init__(self, config: Config, use: Use, shared: Counters) -> None:
        super().__init__(config, use, shared)
        self._limiting = LocalLimiting(config, use, shared)
        self.access = self._limiting.access
        self.header_filter = self._limiting.header_filter

    @classmethod
    def share(cls, node: NodeServices) -> Any:
        """Return the counters of the node."""
        counters = Counters()
        node.begin("rate-limiting-sweep", counters.sweep())
        return counters

    def set_up(self) -> None:
        """Hear that requests may come from now on."""
        self._limiting.set_up()

    def clean_up(self) -> None:
        """Hear that no new request comes."""
        self._limiting.clean_up()

"""Plugins that raise or take too long: named in the log, counted, answered with 500."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.plugins.reply import Reply, reply_json

if TYPE_CHECKING:
    from gateway.plugins.chain import RunningPlugin

_TRACEBACKS = 100
"""Failures told with their traceback; thereafter one line each time their number has doubled."""

_log = structlog.get_logger(__name__)

UNEXPECTED = reply_json(500, {"message": "An unexpected error occurred"})


class PluginFailures:
    """Counts the failures of plugins by name. ``timeout_s`` is how long one may wait."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.counts: dict[str, int] = {}

    def note(self, use: RunningPlugin, error: BaseException) -> Reply:
        """Take note of a failure, and return what its request is answered."""
        name = use.plugin.name
        number = self.counts[name] = self.counts.get(name, 0) + 1
        if number <= _TRACEBACKS or number & (number - 1) == 0:
            _log.error(
                "a plugin failed",
                plugin=name,
                id=str(use.plugin.use.id),
                failures=number,
                exc_info=error if number <= _TRACEBACKS else None,
                error=repr(error),
            )
        return UNEXPECTED

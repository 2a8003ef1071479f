"""Marks: people say that a target, or one address of it, is healthy or unhealthy.

They are given through the Admin API and reach all nodes as commands; each node forces the state of
what it knows by that target (balancer.md, sections 6.2 and 9).
"""

from __future__ import annotations

import structlog

from gateway.commands import Command, Commands
from gateway.status.health import HealthFacts

HEALTHY, UNHEALTHY = "target.healthy", "target.unhealthy"
"""The commands: ``subject`` is the target, the argument ``address`` one of it, None for all."""

_log = structlog.get_logger(__name__)


def obey(commands: Commands, health: HealthFacts) -> None:
    """Let a node carry out marks from now on."""

    def mark(command: Command) -> None:
        target, address = command.subject, command.arguments.get("address")
        if target is None or not isinstance(address, str | None):
            _log.warning("a mark names no target", command=command.name, version=command.version)
            return
        healthy = command.name == HEALTHY
        marked = health.mark(target, address, healthy=healthy)
        _log.info(
            "target marked",
            target=str(target),
            address=address,
            healthy=healthy,
            addresses=marked,
            version=command.version,
        )

    commands.handle(HEALTHY, mark)
    commands.handle(UNHEALTHY, mark)

"""What a node tells of health in sum: in its heartbeat, at `/cluster`, by metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MOST_NAMED = 20
"""Unhealthy addresses that are told by name; of further ones only the number."""


LONGEST_NAME = 255
"""Of a longer name only the beginning is told."""


@dataclass(frozen=True, slots=True)
class UnhealthyAddress:
    """An address that gets no traffic: of which upstream entity, by what name, as ``ip:port``."""

    upstream: str
    target: str
    address: str


@dataclass(frozen=True, slots=True)
class Census:
    """How many addresses have their health checked, and how many are unhealthy, some by name."""

    checked: int = 0
    unhealthy: int = 0
    named: tuple[UnhealthyAddress, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as a heartbeat and `/cluster` tell it; it is of limited size."""
        return {
            "checked": self.checked,
            "unhealthy": self.unhealthy,
            "addresses": [
                {"upstream": it.upstream, "target": it.target, "address": it.address}
                for it in self.named
            ],
        }


@dataclass(slots=True)
class HealthCounts:
    """Probes by what they found, changes by what addresses became, and the last census."""

    probes: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    census: Census = Census()

"""Endpoints that are no members of their group at the moment, but may be again soon.

A target may be removed and restored, or be missing from an answer of DNS. What is known of its
health should not be forgotten over that (balancer.md section 6.5).
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.balancing.endpoint import Endpoint, Identity

KEPT_S = 300.0
KEPT_LIMIT = 1000
"""For how long, and how many of a group at most; the oldest go first."""


class Departed:
    """Keeps those whose health is worth remembering."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[Identity, tuple[float, Endpoint]] = {}

    def keep(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """Take those that have just left, and forget those that are gone for long."""
        for endpoint in endpoints:
            if not endpoint.health.is_pristine:
                self._kept[endpoint.identity] = (now, endpoint)
        for identity, (left_at, _) in list(self._kept.items()):
            if len(self._kept) <= KEPT_LIMIT and now - left_at <= KEPT_S:
                break
            del self._kept[identity]

    def take(self, identity: Identity, now: float) -> Endpoint | None:
        """Return who has come back, if it is known still."""
        left_at, endpoint = self._kept.pop(identity, (now, None))
        return endpoint if now - left_at <= KEPT_S else None

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

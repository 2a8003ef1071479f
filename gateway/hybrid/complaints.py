"""The log of peers that cannot be talked to: a line a minute for each, however often it tries."""

from __future__ import annotations

from time import monotonic

import structlog

SILENCE_S = 60.0
_MOST_PEERS = 1000


class Complaints:
    """Says what is wrong with a peer, once a minute."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("gateway.hybrid")
        self._said_at: dict[tuple[str, str], float] = {}

    def say(self, event: str, peer: str, reason: str) -> None:
        """Hear that ``event`` happened with ``peer``, a host or an address, and why."""
        now = monotonic()
        if now - self._said_at.get((event, peer), -SILENCE_S) < SILENCE_S:
            return
        if len(self._said_at) >= _MOST_PEERS:
            self._said_at.clear()
        self._said_at[event, peer] = now
        self._log.warning(event, peer=peer, reason=reason)

"""The log of what fails on the request path: a line a second at most for each kind and peer.

An upstream that is down, or a client that sends rubbish, can fail tens of thousands of times a
second; a log that told each time would cost more than the requests.
"""

from __future__ import annotations

import sys
from time import monotonic

import structlog

_SILENCE_S = 1.0
_PEERS_LIMIT = 1000


class FailureLog:
    """Logs failures, and with each line how many like it went unsaid before."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("gateway.proxy")
        self._said: dict[tuple[str, str], tuple[float, int]] = {}  # → (when, unsaid since)

    def note(self, event: str, reason: str, peer: str) -> None:
        """Hear that ``event`` happened with ``peer``, a target or a client's address."""
        now = monotonic()
        said_at, unsaid = self._said.get((event, peer), (-_SILENCE_S, 0))
        if now - said_at < _SILENCE_S:
            self._said[event, peer] = (said_at, unsaid + 1)
            return
        if len(self._said) >= _PEERS_LIMIT:
            self._said.clear()
        self._said[event, peer] = (now, 0)
        self._log.warning(event, reason=reason, peer=peer, unsaid=unsaid)

    def note_unraisable(self, error: sys.UnraisableHookArgs) -> None:
        """Hear of an error that Python has nobody to raise to (a `sys.unraisablehook`).

        Clients can cause such by a TLS server name that is no ASCII.
        """
        self.note("error ignored", repr(error.exc_value), type(error.object).__name__)

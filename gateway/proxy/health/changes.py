"""Who is told that an address may have traffic again, or none any more: observers, and the log.

The log says each change once; of an address that goes to and fro, a line a second: what it has come
to, and how many changes that were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from gateway.status.health import HealthChange

_SILENCE_S = 1.0
_ADDRESSES_LIMIT = 1000
"""Most addresses that are logged within a second; of further ones only the number."""

Address = tuple[UUID, str, str, int]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Silence:
    """What has changed since an address was last spoken of."""

    timer: asyncio.TimerHandle
    last: HealthChange | None = None
    changes: int = 0


class HealthChanges:
    """Passes changes on."""

    def __init__(self) -> None:
        self._observers: list[Callable[[HealthChange], None]] = []
        self._lately_said: dict[Address, Silence] = {}
        self._unsaid = 0

    def on_change(self, hear: Callable[[HealthChange], None]) -> None:
        """Let ``hear`` hear of each change from now on."""
        self._observers.append(hear)

    def note(self, change: HealthChange) -> None:
        """Pass a change on."""
        for hear in self._observers:
            hear(change)
        address = change.upstream_id, change.host, change.ip, change.port
        silence = self._lately_said.get(address)
        if silence is not None:
            silence.last, silence.changes = change, silence.changes + 1
        elif len(self._lately_said) < _ADDRESSES_LIMIT:
            self._say(address, change, 1)
        else:
            self._unsaid += 1

    def stop(self) -> None:
        """Say nothing more."""
        for silence in self._lately_said.values():
            silence.timer.cancel()
        self._lately_said.clear()

    def _say(self, address: Address, change: HealthChange, changes: int) -> None:
        """Log a change, the last of so many, and be silent on this address for a while."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_SILENCE_S, self._end_silence, address)
        self._lately_said[address] = Silence(timer)
        tell = log.info if change.available else log.warning
        tell(
            "target is healthy" if change.available else "target is unhealthy",
            upstream=change.upstream,
            target=change.host,
            address=change.address,
            reason=change.reason,
            **({"changes": changes} if changes > 1 else {}),
            **({"unsaid": self._unsaid} if self._unsaid else {}),
        )
        self._unsaid = 0

    def _end_silence(self, address: Address) -> None:
        silence = self._lately_said.pop(address)
        if silence.last is not None:
            self._say(address, silence.last, silence.changes)

"""Host names to addresses, by the system's resolver, remembered for a while."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Any

import structlog

_NAMES_LIMIT = 10_000
_FAILURE_TTL_S = 1.0
"""How long a name that did not resolve is not asked for again."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Known:
    """The addresses of a name, until when they count as fresh, and whose turn it is."""

    addresses: list[str]
    fresh_until: float
    turn: int = 0

    def next_address(self) -> str:
        if len(self.addresses) > 1:
            self.turn = (self.turn + 1) % len(self.addresses)
        return self.addresses[self.turn]


class Resolver:
    """Resolves names off the event loop.

    Only the first request to a name waits for it: an outdated answer is used while it is asked
    for again, and goes on being used when that fails. A name that has IPv4 addresses is reached
    by those alone, as with Kong's default order.
    """

    def __init__(self, *, ttl_s: float, timeout_s: float) -> None:
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._known: dict[str, _Known] = {}
        self._failed_until: dict[str, float] = {}
        self._lookups: dict[str, asyncio.Task[_Known]] = {}

    def known(self, host: str) -> str | None:
        """Return an address of a name resolved before, without waiting; None if there is none."""
        known = self._known.get(host)
        if known is None:
            return None
        if known.fresh_until < time.monotonic():
            self._look_up(host)
        return known.next_address()

    async def resolve(self, host: str) -> str:
        """Return an address of ``host``, waiting for it if need be.

        :raises OSError: when it cannot be resolved in time.
        """
        known = self._known.get(host)
        if known is None:
            if self._failed_until.get(host, 0.0) > time.monotonic():
                raise OSError(f"{host} did not resolve a moment ago")
            known = await asyncio.shield(self._look_up(host))
        return known.next_address()

    async def stop(self) -> None:
        """Give up what is being looked up."""
        for task in list(self._lookups.values()):
            task.cancel()
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)

    def _look_up(self, host: str) -> asyncio.Task[_Known]:
        task = self._lookups.get(host)
        if task is None:
            task = asyncio.get_running_loop().create_task(
                self._refresh(host), name=f"resolve-{host}"
            )
            self._lookups[host] = task
            task.add_done_callback(lambda done: self._looked_up(host, done))
        return task

    def _looked_up(self, host: str, task: asyncio.Task[_Known]) -> None:
        self._lookups.pop(host, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _bound(self._failed_until)
            self._failed_until[host] = time.monotonic() + _FAILURE_TTL_S
            log.warning("name not resolved", host=host, error=str(error))

    async def _refresh(self, host: str) -> _Known:
        if host in self._known:  # asked again no sooner than after another ttl, should this fail
            self._known[host].fresh_until = time.monotonic() + self._ttl_s
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, None, type=socket.SOCK_STREAM
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise OSError(f"cannot resolve {host}: {str(error) or 'timed out'}") from error
        of_ipv4 = [info for info in found if info[0] == socket.AF_INET]
        addresses = list(dict.fromkeys(str(info[4][0]) for info in of_ipv4 or found))
        _bound(self._known)
        known = self._known[host] = _Known(addresses, time.monotonic() + self._ttl_s)
        return known


def _bound(names: dict[str, Any]) -> None:
    if len(names) >= _NAMES_LIMIT:
        names.clear()

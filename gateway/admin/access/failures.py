"""Counts failed logins by client address, so that nobody tries tokens one after the other."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

import structlog

PERIOD_S = 60.0
MOST_CLIENTS = 10_000
"""Clients that are remembered; beyond, the one that has not failed for longest is forgotten."""

_log = structlog.get_logger(__name__)


class FailedLogins:
    """The failures of the last minute, of which a client may have ``most``."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._clients: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many clients are remembered."""
        return len(self._clients)

    def blocked_s(self, address: str) -> float:
        """Return how long a client must wait before its next try, 0 if it need not."""
        failures = self._clients.get(_client(address))
        if failures is None or len(failures) < self._most:
            return 0.0
        return max(0.0, failures[0] + PERIOD_S - self._clock())

    def note(self, address: str) -> None:
        """Count a failure of a client that is not blocked; a burst is logged when it begins, and
        when the client is blocked for it.
        """
        client, now = _client(address), self._clock()
        failures = self._clients.setdefault(client, deque(maxlen=self._most))
        self._clients.move_to_end(client)
        if not failures or failures[-1] + PERIOD_S <= now:
            _log.warning("an admin login failed", address=address)
        failures.append(now)
        if self.blocked_s(address) > 0:
            _log.warning("too many admin logins have failed", address=address)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)


def _client(address: str) -> str:
    """Return what tells clients apart: of an IPv6 address the network, which is one customer's."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, 64), strict=False))

"""How many clients may be connected at once: to all proxy listeners together, and from one address.

At the total limit a connection that waits for a request gives way to a newcomer, so neither idle
clients nor ones that hold many sockets open keep others out. Only when none waits is the newcomer
closed.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from gateway.metrics.traffic import TrafficMetrics
from gateway.proxy.client import UNIX_ADDRESS
from gateway.proxy.deadlines import NEVER
from gateway.proxy.failures import FailureLog
from gateway.settings import NodeSettings

if TYPE_CHECKING:
    from gateway.proxy.proxy import ProxyCounts

_LOOKED_AT = 128
"""Connections among which the one that gives way is chosen: some 20 µs of work per newcomer."""

_ALL = "all clients"
"""Whom log lines about the total limit concern: they are to be one line a second, not one each."""


class Refusal(StrEnum):
    """Why a connection was closed before it could send a request: the setting or the step."""

    LIMIT = "max_connections"
    CLIENT_LIMIT = "max_connections_per_client"
    PROXY_PROTOCOL = "proxy_protocol"
    TLS_HANDSHAKE = "tls_handshake"


class Admitted(Protocol):
    """A connection that counts."""

    @property
    def waiting_since(self) -> float:
        """Since when it waits for its client's next request, NEVER if it does not."""
        ...

    def cut(self) -> None:
        """Close at once."""
        ...


class Admission:
    """Admits connections while there are not too many, and counts those it does not."""

    def __init__(
        self,
        settings: NodeSettings,
        counts: ProxyCounts,
        traffic: TrafficMetrics,
        failures: FailureLog,
    ) -> None:
        self._limit = settings.max_connections
        self._limit_per_client = settings.max_connections_per_client
        self._counts = counts
        self._traffic = traffic
        self._failures = failures
        self._admitted: OrderedDict[Admitted, bytes | None] = OrderedDict()  # → client's address
        self._by_client: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._admitted)

    def admit(self, connection: Admitted, address: bytes | None) -> bool:
        """Count a connection in; False if there are too many, and it has to be closed.

        :param address: the client's; None if it is not known yet (see `identify`).
        """
        self._counts.accepted += 1
        if not self._client_has_room(address):
            return False
        if len(self._admitted) >= self._limit and not self._make_room():
            self.refuse(Refusal.LIMIT, f"{self._limit} connections are busy", _ALL)
            return False
        self._counts.handled += 1
        self._admitted[connection] = address
        self._count(address, 1)
        return True

    def identify(self, connection: Admitted, address: bytes) -> bool:
        """Learn the address of an admitted client; False if it has too many connections."""
        if not self._client_has_room(address):
            return False
        self._admitted[connection] = address
        self._count(address, 1)
        return True

    def hand_over(self, connection: Admitted, successor: Admitted) -> None:
        """Let ``successor`` count in the place of ``connection``."""
        self._admitted[successor] = self._admitted.pop(connection)

    def leave(self, connection: Admitted) -> None:
        """Count a connection out; nothing if it has not been in."""
        if connection in self._admitted:
            self._count(self._admitted.pop(connection), -1)

    def refuse(self, refusal: Refusal, reason: str, peer: str) -> None:
        """Count and log that a connection is closed before it could send a request."""
        refused = self._traffic.connections_refused
        refused[refusal] = refused.get(refusal, 0) + 1
        self._failures.note(f"connection refused: {refusal}", reason, peer)

    def _client_has_room(self, address: bytes | None) -> bool:
        limit = self._limit_per_client
        if address is None or self._by_client.get(address, 0) < limit or not limit:
            return True
        self.refuse(Refusal.CLIENT_LIMIT, f"it has {limit} connections", address.decode())
        return False

    def _count(self, address: bytes | None, change: int) -> None:
        if not self._limit_per_client or address is None or address == UNIX_ADDRESS:
            return  # all clients of a Unix socket have the same address
        number = self._by_client.get(address, 0) + change
        if number:
            self._by_client[address] = number
        else:
            del self._by_client[address]

    def _make_room(self) -> bool:
        """Cut the connection that has waited longest for a request, of the next few in turn."""
        longest: Admitted | None = None
        since = NEVER
        for _ in range(min(_LOOKED_AT, len(self._admitted))):
            connection = next(iter(self._admitted))
            self._admitted.move_to_end(connection)
            if (waiting_since := connection.waiting_since) < since:
                longest, since = connection, waiting_since
        if longest is None:
            return False
        self._traffic.connections_gave_way += 1
        self._failures.note(
            "idle connection closed for a newcomer", f"max_connections is {self._limit}", _ALL
        )
        self.leave(longest)
        longest.cut()
        return True

"""What a node tells of the health of upstream entities: its own view (balancer.md, 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class AddressHealth:
    """One address of a target.

    ``state`` is one of the four of the state machine (balancer.md section 6.2); None where health
    is not checked, as the upstream entity does not ask for it or the address has no weight.
    """

    ip: str
    port: int
    weight: int
    available: bool
    state: str | None


@dataclass(frozen=True, slots=True)
class WeightHealth:
    """How much weight there is, and how much of it may have traffic."""

    total: int
    available: int

    @property
    def unavailable(self) -> int:
        """The rest."""
        return self.total - self.available


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """One target. Without ``addresses``, ``dns_error`` says why its name leads nowhere.

    ``record_type`` is the type of DNS record that the addresses come from, or that would have them;
    it and ``dns_error`` are empty while nobody has answered yet.
    """

    id: UUID
    host: str
    port: int
    weight: int
    record_type: str
    dns_error: str
    addresses: tuple[AddressHealth, ...]

    @property
    def weights(self) -> WeightHealth:
        """Those of all addresses."""
        return _sum(self.addresses)


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """An upstream entity; ``healthy`` is whether enough of it is available (balancer.md, 5).

    ``checked`` is whether health checks are on.
    """

    id: UUID
    name: str
    checked: bool
    healthy: bool
    targets: tuple[TargetHealth, ...]

    @property
    def weights(self) -> WeightHealth:
        """Those of all addresses."""
        return _sum(address for target in self.targets for address in target.addresses)


@dataclass(frozen=True, slots=True)
class HealthChange:
    """An address may have traffic from now on (``available``), or none. ``reason`` says why."""

    upstream_id: UUID
    upstream: str
    host: str
    ip: str
    port: int
    available: bool
    reason: str

    @property
    def address(self) -> str:
        """IP address and port, as in a URL."""
        return host_and_port(self.ip, self.port)


class HealthFacts(Protocol):
    """The health of upstream entities as a node sees it; for calls from its event loop."""

    async def of(self, upstream_id: UUID) -> UpstreamHealth | None:
        """Return how an upstream entity is; None for one that this node does not know.

        Waits for names that were never looked up, as long as a lookup may take.
        """
        ...

    def each(self) -> Iterator[UpstreamHealth]:
        """Yield, without waiting, all that have their health checked or had traffic."""
        ...

    def mark(self, target_id: UUID, address: str | None, *, healthy: bool) -> int:
        """Force the state of a target's addresses, or of one (``ip:port``, ``[v6]:port``).

        Return how many there were: 0 if target or address are unknown here, or health checks off.
        """
        ...

    def on_change(self, hear: Callable[[HealthChange], None]) -> None:
        """Let ``hear`` hear of each change from now on. It has to be quick, and not to raise."""
        ...


def host_and_port(host: str, port: int) -> str:
    """Return both as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sum(addresses: Iterable[AddressHealth]) -> WeightHealth:
    total = available = 0
    for address in addresses:
        total += address.weight
        available += address.weight if address.available else 0
    return WeightHealth(total, available)

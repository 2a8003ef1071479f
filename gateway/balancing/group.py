"""The endpoints of an upstream entity together: who they are, who may have traffic, who is next.

A group lasts as long as its upstream entity. What is known of an endpoint lasts as long as that
stays a member, whatever else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from gateway.balancing.balancer import Balancer, Listener
from gateway.balancing.consistent_hashing import ConsistentHashing
from gateway.balancing.endpoint import Endpoint, Identity, Member
from gateway.balancing.hash_inputs import HashOn
from gateway.balancing.latency import Latency
from gateway.balancing.least_connections import LeastConnections
from gateway.balancing.round_robin import RoundRobin

Pick = Callable[[float, Collection[Endpoint], bytes | None], Endpoint | None]

ALGORITHMS = ("round-robin", "least-connections", "consistent-hashing", "latency")


@dataclass(frozen=True, slots=True)
class Balancing:
    """How an upstream entity wants its requests spread (balancer.md section 2).

    ``hash_on`` and ``slots`` count for consistent-hashing only. The share of the whole weight that
    is available, in percent, has to be greater than ``threshold``.
    """

    algorithm: str = "round-robin"
    hash_on: HashOn | None = None
    slots: int = 10_000
    threshold: float = 0.0

    def balancer(self) -> Balancer:
        """Return a balancer of this algorithm, without endpoints yet."""
        match self.algorithm:
            case "least-connections":
                return LeastConnections()
            case "latency":
                return Latency()
            case "consistent-hashing":
                return ConsistentHashing(self.slots)
        return RoundRobin()


class Group:
    """Members become endpoints; ``pick`` is the balancer's, ``listener`` hears how tries end."""

    __slots__ = ("_balancer", "_endpoints", "balancing", "hash_on", "listener", "pick")

    def __init__(self, balancing: Balancing) -> None:
        self._endpoints: dict[Identity, Endpoint] = {}
        self._use(balancing)

    @property
    def endpoints(self) -> Mapping[Identity, Endpoint]:
        """All endpoints, also those without weight or not available."""
        return self._endpoints

    def rebalance(self, balancing: Balancing) -> None:
        """Spread requests in another way from now on."""
        before, balancer = self.balancing, self._balancer
        if balancing == before:
            return
        if (balancing.algorithm, balancing.slots) == (before.algorithm, before.slots):
            self._use(balancing, balancer)
        else:
            balancer.arrange(())  # it still hears of the ends of its tries
            self._use(balancing)

    def arrange(self, members: Iterable[Member]) -> None:
        """Have these members; those that were there before stay what they were."""
        endpoints: dict[Identity, Endpoint] = {}
        for member in members:
            endpoint = self._endpoints.get(member.identity)
            if endpoint is None:
                endpoint = Endpoint(member)
            else:
                endpoint.become(member)
            endpoints[member.identity] = endpoint
        self._endpoints = endpoints
        self._settle()

    def set_available(self, endpoint: Endpoint, available: bool) -> None:
        """Let an endpoint have traffic, or none."""
        if endpoint.available is not available:
            endpoint.available = available
            self._settle()

    @property
    def is_healthy(self) -> bool:
        """Whether enough of the weight is available (balancer.md section 5)."""
        total = sum(endpoint.weight for endpoint in self._endpoints.values())
        available = sum(e.weight for e in self._endpoints.values() if e.available)
        return available * 100 > total * self.balancing.threshold

    def _use(self, balancing: Balancing, balancer: Balancer | None = None) -> None:
        self.balancing = balancing
        self.hash_on = balancing.hash_on
        self._balancer = balancer or balancing.balancer()
        self.listener: Listener | None = self._balancer.listener
        self._settle()

    def _settle(self) -> None:
        """Tell the balancer how things are now."""
        self._balancer.arrange(list(self._endpoints.values()))
        self.pick: Pick = self._balancer.pick if self.is_healthy else _nobody


def _nobody(now: float, exclude: Collection[Endpoint], value: bytes | None) -> None:
    """Pick nobody: too little of the upstream is healthy."""
    del now, exclude, value

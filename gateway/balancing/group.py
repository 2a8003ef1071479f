"""The endpoints of an upstream entity together: who they are, who may have traffic, who is next.

A group lasts as long as its upstream entity. What is known of an endpoint lasts as long as that
stays a member, whatever else changes; of its health, for a while longer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.balancing.balancer import Balancer, Listener
from gateway.balancing.consistent_hashing import ConsistentHashing
from gateway.balancing.departed import Departed
from gateway.balancing.endpoint import Endpoint, Identity, Member
from gateway.balancing.hash_inputs import HashOn
from gateway.balancing.health import Limits, Report
from gateway.balancing.health_checks import HealthChecks
from gateway.balancing.latency import Latency
from gateway.balancing.least_connections import LeastConnections
from gateway.balancing.round_robin import RoundRobin
from gateway.balancing.witness import Witness

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
    """Members become endpoints; ``pick`` is the balancer's, ``listener`` hears how tries end.

    ``health_checks`` is None while they are off: then everybody is available.
    """

    __slots__ = (
        "_balancer",
        "_departed",
        "_endpoints",
        "balancing",
        "hash_on",
        "health_checks",
        "listener",
        "pick",
    )

    def __init__(self, balancing: Balancing) -> None:
        self._endpoints: dict[Identity, Endpoint] = {}
        self._departed = Departed()
        self.health_checks: HealthChecks | None = None
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

    def arrange(self, members: Iterable[Member], now: float = 0.0) -> None:
        """Have these members; those that were there before stay what they were."""
        before = self._endpoints
        endpoints: dict[Identity, Endpoint] = {}
        for member in members:
            identity = member.identity
            endpoint = before.get(identity) or self._departed.take(identity, now)
            if endpoint is None:
                endpoint = Endpoint(member)
            else:
                endpoint.become(member)
            endpoints[identity] = endpoint
        self._endpoints = endpoints
        self._departed.keep((e for id_, e in before.items() if id_ not in endpoints), now)
        self._settle()

    # -- health

    def check_health(self, checks: HealthChecks | None) -> None:
        """Find out in another way how endpoints are, or no more; what is known so far stays."""
        if checks == self.health_checks:
            return
        self.health_checks = checks
        if checks is None:
            self._departed.clear()
            for endpoint in self._endpoints.values():
                endpoint.health.force(healthy=True)
                endpoint.available = True
        self._use(self.balancing, self._balancer)

    def report(self, endpoint: Endpoint, report: Report, limits: Limits, reason: str) -> None:
        """Hear what one side, whose ``limits`` these are, says of an endpoint.

        ``reason`` says the same in words.
        """
        endpoint.health.hear(report, limits)
        self._heed_health([endpoint], reason)

    def mark(self, endpoints: Sequence[Endpoint], *, healthy: bool, reason: str) -> None:
        """Force the state of endpoints."""
        for endpoint in endpoints:
            endpoint.health.force(healthy=healthy)
        self._heed_health(endpoints, reason)

    def _heed_health(self, endpoints: Sequence[Endpoint], reason: str) -> None:
        """Let endpoints have traffic, or none, as their health says."""
        turned = [e for e in endpoints if e.available is not e.health.state.is_available]
        if not turned or self.health_checks is None:
            return
        for endpoint in turned:
            endpoint.available = not endpoint.available
        self._settle()
        for endpoint in turned:
            if endpoint.identity in self._endpoints:  # or it has left meanwhile
                self.on_turn(endpoint, reason)

    def on_turn(self, endpoint: Endpoint, reason: str) -> None:
        """Hear that an endpoint has become available, or not, and why."""

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
        self.listener = self._listener()
        self._settle()

    def _listener(self) -> Listener | None:
        """Return who has to hear how tries end."""
        checks, listener = self.health_checks, self._balancer.listener
        if checks is None or not any(checks.traffic.limits):
            return listener
        return Witness(checks.traffic, self.report, listener)

    def _settle(self) -> None:
        """Tell the balancer how things are now."""
        self._balancer.arrange(list(self._endpoints.values()))
        self.pick: Pick = self._balancer.pick if self.is_healthy else _nobody


def _nobody(now: float, exclude: Collection[Endpoint], value: bytes | None) -> None:
    """Pick nobody: too little of the upstream is healthy."""
    del now, exclude, value

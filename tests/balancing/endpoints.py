"""Endpoints by name, and what is picked of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from gateway.balancing import Balancer, Endpoint, Member


def member(name: str, weight: int = 100, host_header: bytes = b"") -> Member:
    return Member(name, "192.0.2.1", 80, weight, {"http": host_header or name.encode()})


def endpoints(weights: Mapping[str, int]) -> dict[str, Endpoint]:
    return {name: Endpoint(member(name, weight)) for name, weight in weights.items()}


def over(balancer: Balancer, members: Mapping[str, Endpoint]) -> Balancer:
    balancer.arrange(list(members.values()))
    return balancer


def name_of(endpoint: Endpoint | None) -> str | None:
    return None if endpoint is None else endpoint.host


def picks(balancer: Balancer, count: int, *, exclude: Iterable[Endpoint] = ()) -> list[str | None]:
    """What so many requests are sent to, each over before the next begins."""
    picked = []
    for number in range(count):
        endpoint = balancer.pick(float(number), tuple(exclude), None)
        if endpoint is not None and balancer.listener is not None:
            balancer.listener.answered(endpoint, 200, float(number), 0.001)
        picked.append(name_of(endpoint))
    return picked


def shares(balancer: Balancer, count: int) -> Counter[str | None]:
    return Counter(picks(balancer, count))

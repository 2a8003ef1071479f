"""Consistent hashing: equal values go to the same endpoint, on every node.

Source: ``balancer.md`` section 3. A value leads to one of ``slots`` slots. For a slot the endpoints
compete (rendezvous hashing): each draws a number from slot and identity, spread so that the lowest
is drawn as often as its weight says. Nobody's number depends on the others. So the winner is the
same on every node, whatever the order of targets or of learning about them; and when an endpoint
comes, goes, fails or changes its weight, only the slots move that it wins or has won.

The winner of a slot is worked out when it is first asked for, in time proportional to the number of
endpoints, and remembered until they change. One that is not available keeps its slots; while it is
away, the second of each slot stands in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from math import inf, log
from typing import NamedTuple
from zlib import crc32

from gateway.balancing.endpoint import Endpoint
from gateway.balancing.round_robin import RoundRobin

_LEAST_SLOTS = 1000
_PRIME = (1 << 61) - 1


class _Contestant(NamedTuple):
    """An endpoint with its own hash function of slots (Carter and Wegman: ``a * x + b mod p``)."""

    endpoint: Endpoint
    a: int
    b: int
    weight: int

    def draw(self, x: int) -> float:
        """Return what this endpoint draws: exponentially distributed, by its weight."""
        return -log(((self.a * x + self.b) % _PRIME + 1) / _PRIME) / self.weight


class ConsistentHashing:
    """Picks by hash; a request without a value to hash takes its turn instead."""

    __slots__ = ("_contestants", "_members", "_slots", "_stand_ins", "_turns", "_winners")

    listener = None

    def __init__(self, slots: int) -> None:
        self._slots = max(slots, _LEAST_SLOTS)
        self._turns = RoundRobin()
        self._members: dict[Endpoint, int] = {}
        self._contestants: list[_Contestant] = []
        self._winners: list[Endpoint | None] = []
        self._stand_ins: dict[int, Endpoint | None] = {}

    def arrange(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget what follows from what was; see `Balancer.arrange`."""
        members = {endpoint: endpoint.weight for endpoint in endpoints if endpoint.weight}
        if members != self._members:
            self._members = members
            self._contestants = [_contestant(*member) for member in members.items()]
            self._winners = [None] * self._slots
        self._stand_ins = {}
        self._turns.arrange(endpoints)

    def pick(
        self, now: float, exclude: Collection[Endpoint] = (), value: bytes | None = None
    ) -> Endpoint | None:
        """Return the winner of the value's slot, or who stands in for it; see `Balancer.pick`."""
        if value is None:
            return self._turns.pick(now, exclude)
        slot = crc32(value) % self._slots
        winner = self._winners[slot] if self._contestants else None
        if winner is None:
            winner = _winner(slot, self._contestants)
            if winner is None:
                return None
            self._winners[slot] = winner
        if exclude or not winner.available:
            return self._stand_in(slot, exclude)
        return winner

    def _stand_in(self, slot: int, exclude: Collection[Endpoint]) -> Endpoint | None:
        """Return the best for a slot of those available, if possible none of the excluded."""
        available = [c for c in self._contestants if c.endpoint.available]
        if exclude:
            left = [c for c in available if c.endpoint not in exclude]
            return _winner(slot, left or available)
        if slot not in self._stand_ins:
            self._stand_ins[slot] = _winner(slot, available)
        return self._stand_ins[slot]


def _contestant(endpoint: Endpoint, weight: int) -> _Contestant:
    host, address, port = endpoint.identity
    name = f"{host} {address} {port}".encode()
    return _Contestant(endpoint, _spread(name + b" a"), _spread(name + b" b"), weight)


def _winner(slot: int, contestants: Iterable[_Contestant]) -> Endpoint | None:
    """Return who draws the lowest number for a slot."""
    x = _spread(b"%d" % slot)
    best, lowest = None, inf
    for contestant in contestants:
        drawn = contestant.draw(x)
        if drawn < lowest:
            best, lowest = contestant.endpoint, drawn
    return best


def _spread(name: bytes) -> int:
    """Return a number below the prime that is the same on every node, and looks like chance."""
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") % _PRIME

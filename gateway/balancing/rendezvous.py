"""Rendezvous hashing: nodes that agree, without a word, on which of them do something."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from heapq import nsmallest
from uuid import UUID

_PRIME = (1 << 61) - 1


class Rendezvous:
    """Nodes of which some are chosen for a key: those that draw the lowest numbers from it.

    Nobody's number depends on the others. So when a node goes, only its own places are taken by
    others; one that comes takes places only for itself. Each node has its own hash function of keys
    (Carter and Wegman: ``a * x + b mod p``), at a quarter of a microsecond.
    """

    def __init__(self, nodes: Collection[UUID]) -> None:
        self._nodes = [(_spread(n.bytes + b" a"), _spread(n.bytes + b" b"), n) for n in nodes]

    def chosen(self, key: bytes, count: int) -> frozenset[UUID]:
        """Return ``count`` of the nodes, all if there are not as many."""
        x = _spread(key)
        drawn = [((a * x + b) % _PRIME, node) for a, b, node in self._nodes]
        return frozenset(node for _, node in nsmallest(count, drawn))


def _spread(name: bytes) -> int:
    """Return a number below the prime that is the same everywhere, and looks like chance."""
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") % _PRIME

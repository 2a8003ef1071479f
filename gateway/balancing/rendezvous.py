"""Rendezvous hashing: nodes that agree, without a word, on which of them do something."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from heapq import nsmallest
from uuid import UUID


def chosen(key: bytes, nodes: Iterable[UUID], count: int) -> frozenset[UUID]:
    """Return ``count`` of the nodes, all if there are not as many; which ones follows from the key.

    When a node goes, only its own place is taken by another one; one that comes takes places only
    for itself.
    """

    def place(node: UUID) -> bytes:
        return blake2b(key, digest_size=8, salt=node.bytes).digest()

    return frozenset(nsmallest(count, nodes, place))

"""Rendezvous hashing: everybody chooses the same, and moves no more than needed."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.balancing.rendezvous import Rendezvous

KEYS = [b"address %d" % number for number in range(200)]
some_nodes = st.sets(st.uuids(), min_size=1, max_size=20)
some_count = st.integers(1, 5)


def chosen(key: bytes, nodes: Collection[UUID], count: int) -> frozenset[UUID]:
    return Rendezvous(nodes).chosen(key, count)


@given(some_nodes, some_count)
def test_as_many_are_chosen_as_are_asked_for_or_there(nodes: set[UUID], count: int) -> None:
    for key in KEYS[:20]:
        found = chosen(key, nodes, count)
        assert len(found) == min(count, len(nodes))
        assert found <= nodes


@given(st.lists(st.uuids(), unique=True, min_size=2, max_size=10), some_count)
def test_the_order_is_no_matter(nodes: list[UUID], count: int) -> None:
    for key in KEYS[:20]:
        assert chosen(key, nodes, count) == chosen(key, nodes[::-1], count)


@given(some_nodes, st.uuids(), some_count)
def test_one_that_comes_or_goes_moves_only_its_own_places(
    nodes: set[UUID], other: UUID, count: int
) -> None:
    with_it, without = nodes | {other}, nodes - {other}
    for key in KEYS[:50]:
        before, after = chosen(key, without, count), chosen(key, with_it, count)
        if other in after:
            assert after - {other} <= before
        else:
            assert after == before


def test_the_work_is_spread() -> None:
    nodes = [UUID(int=number) for number in range(10)]
    places = [node for key in KEYS for node in chosen(key, nodes, 2)]
    shares = [places.count(node) for node in nodes]
    assert min(shares) > 20  # of 40
    assert max(shares) < 65

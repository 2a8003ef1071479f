"""Who probes what, and whose word is taken, in a cluster that shares probes."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from gateway.balancing.health import Report
from gateway.balancing.shared_probes import (
    LONGEST_STREAK,
    MOST_ADDRESSES,
    Address,
    Finding,
    SharedProbes,
)

PATIENCE_S = 5.0
UPSTREAM = UUID(int=1)
NODES = [UUID(int=number) for number in range(10, 15)]

OK, DOWN = Report.SUCCESS, Report.TCP_FAILURE


def address(number: int = 1) -> Address:
    return UPSTREAM, ("a.internal", f"10.0.0.{number}", 80)


ADDRESS = address()


class Cluster:
    """Nodes that probe an address each second; what one reports, all hear at once."""

    def __init__(self, probers: int) -> None:
        self.now = 0.0
        self.shares = {node: SharedProbes(node, probers, PATIENCE_S) for node in NODES}
        self.heard: dict[UUID, list[Report | None]] = {node: [] for node in NODES}
        self.meet(NODES)

    def meet(self, live: list[UUID]) -> None:
        for share in self.shares.values():
            share.meet(live)

    def second(
        self, finds: Report | None = OK, *, silent: frozenset[UUID] = frozenset()
    ) -> set[UUID]:
        """Let a second pass in which the address is due everywhere; return who has probed it."""
        self.now += 1
        probed = {node for node in NODES if node not in silent and self.is_due(node)}
        for node in probed:
            self.shares[node].note(ADDRESS, finds, "", self.now)
        for finding in self.reported(probed):
            for node in NODES:
                times = self.shares[node].hear(finding, self.now)
                self.heard[node] += [finding.report] * times
        return probed

    def is_due(self, node: UUID) -> bool:
        return self.shares[node].is_ours(ADDRESS, self.now)

    def reported(self, nodes: set[UUID]) -> Iterator[Finding]:
        for node in sorted(nodes):
            yield from self.shares[node].take_unreported(100, self.now)


@pytest.mark.parametrize("probers", [1, 2, 3, 5])
def test_each_address_has_as_many_probers_as_are_asked_for(probers: int) -> None:
    cluster = Cluster(probers)
    rounds = [cluster.second() for _ in range(20)]
    assert [len(probed) for probed in rounds] == [probers] * 20
    assert len(set(map(frozenset, rounds))) == 1


def test_who_does_not_probe_hears_each_round_once_however_many_probe() -> None:
    cluster = Cluster(3)
    for finds in (OK, DOWN, DOWN, None):
        probed = cluster.second(finds)
    for node in NODES:
        assert cluster.heard[node] == ([] if node in probed else [OK, DOWN, DOWN, None])


def test_a_prober_that_dies_is_replaced_by_who_is_chosen_then() -> None:
    cluster = Cluster(1)
    (dead,) = cluster.second()
    left = [node for node in NODES if node != dead]
    cluster.meet(left)
    (heir,) = cluster.second(silent=frozenset({dead}))
    assert cluster.second(DOWN, silent=frozenset({dead})) == {heir}
    for node in left:
        assert cluster.heard[node][-1] is DOWN or node == heir


def test_another_prober_is_followed_when_one_falls_silent() -> None:
    cluster = Cluster(2)
    one, other = sorted(cluster.second())
    for _ in range(10):
        assert cluster.second(DOWN, silent=frozenset({one})) == {other}
    for node in set(NODES) - {one, other}:
        assert cluster.heard[node][-5:] == [DOWN] * 5


def test_who_hears_nothing_for_too_long_probes_until_somebody_is_heard() -> None:
    cluster = Cluster(1)
    (prober,) = cluster.second()
    silent = frozenset({prober})
    alone = [cluster.second(silent=silent) for _ in range(10)]
    assert alone[:5] == [set()] * 5  # patient for five seconds
    assert alone[5:] == [set(NODES) - {prober}] * 5
    cluster.second()
    assert cluster.second() == {prober}


def test_what_one_finds_that_probes_out_of_impatience_is_told_nobody() -> None:
    cluster = Cluster(1)
    (prober,) = cluster.second()
    for _ in range(10):
        probed = cluster.second(DOWN, silent=frozenset({prober}))
    assert probed
    assert all(DOWN not in heard for heard in cluster.heard.values())


def test_probes_further_apart_than_reports_make_nobody_impatient() -> None:
    cluster = Cluster(1)
    for _ in range(10):
        cluster.now += 60
        assert len(cluster.second()) == 1


def test_as_long_as_nobody_is_known_each_probes() -> None:
    cluster = Cluster(1)
    cluster.meet([])
    assert cluster.second() == set(NODES)


def follower() -> tuple[SharedProbes, UUID]:
    """A node that does not probe the address, and the one that does."""
    cluster = Cluster(1)
    (prober,) = cluster.second()
    node = next(node for node in NODES if node != prober)
    share = SharedProbes(node, 1, PATIENCE_S)
    share.meet(NODES)
    assert not share.is_ours(ADDRESS, 0.0)
    return share, prober


def test_reports_that_were_missed_count_as_far_as_they_were_alike() -> None:
    share, prober = follower()

    def hear(number: int, streak: int) -> int:
        return share.hear(Finding(ADDRESS, prober, DOWN, "", number, streak), 0.0)

    assert hear(5, 5) == 1  # what was before we followed it is not ours to count
    assert hear(5, 5) == 0  # read twice
    assert hear(8, 8) == 3
    assert hear(12, 2) == 2
    assert hear(2**62, 2**31 - 1) == LONGEST_STREAK  # as nobody would report
    assert hear(1, 1) == 1  # it counts anew


def test_the_word_of_who_was_not_chosen_is_not_taken() -> None:
    share, prober = follower()
    for node in set(NODES) - {prober}:
        assert share.hear(Finding(ADDRESS, node, DOWN, "", 1, 1), 0.0) == 0
    assert share.hear(Finding(address(2), prober, DOWN, "", 1, 1), 0.0) == 0


def test_the_last_finding_is_reported_and_old_ones_are_not() -> None:
    share = SharedProbes(NODES[0], 1, PATIENCE_S)
    share.meet(NODES[:1])
    for number in range(3):
        share.is_ours(address(number), 0.0)
        share.note(address(number), DOWN, "", 0.0)
        share.note(address(number), OK, "", number * 4.0)
    assert len(share.take_unreported(1, 8.0)) == 0  # it is eight seconds old
    found = share.take_unreported(10, 8.0)
    assert [(f.address, f.report, f.number, f.streak) for f in found] == [
        (address(1), OK, 2, 1),
        (address(2), OK, 2, 1),
    ]
    assert share.take_unreported(10, 8.0) == []


def test_what_is_known_is_bounded() -> None:
    share = SharedProbes(NODES[0], 1, PATIENCE_S)
    for number in range(MOST_ADDRESSES + 10):
        share.is_ours((UPSTREAM, ("a", "10.0.0.1", number)), 0.0)
    assert len(share._known) == MOST_ADDRESSES

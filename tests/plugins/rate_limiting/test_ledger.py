"""What nodes know of each other, and how much passes too much before they do."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.counter_store import Count, ScopeKey, Totals
from gateway.plugins.rate_limiting.counters import Window
from gateway.plugins.rate_limiting.ledger import AHEAD_AT_LEAST, Ledger
from gateway.plugins.rate_limiting.periods import PERIODS
from tests.plugins.rate_limiting.clocks import Clock

_, MINUTE, *_ = PERIODS
SCOPE = ScopeKey(None, None)
ALICE, BOB = 1, 2


class Place:
    """Where counts are added up."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.totals: Counter[int | bytes] = Counter()

    def add(self, told: list[tuple[Window, Count]]) -> Totals:
        for _, count in told:
            self.totals[count.key] += count.amount
        return Totals([self.totals[count.key] for _, count in told], 0.0, self.nodes)


class Node:
    """One that counts for others too: what it tells arrives at once, the answer may take time."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.work = 0
        self.ledger = Ledger(Clock(), self._note_work, most_keys=1000)
        self.window = self.ledger.counters.enter(SCOPE).window(MINUTE)
        self._answer: tuple[list[tuple[Window, Count]], Totals] | None = None

    def _note_work(self) -> None:
        self.work += 1

    def lets_pass(self, limit: int, key: int = ALICE) -> bool:
        left = limit - self.window.counts.get(key, 0)
        if left <= 0 or not self.ledger.may_go_ahead(self.window, key, left):
            return False
        self.ledger.count(self.window, key)
        return True

    def tell(self) -> None:
        if self._answer is None:
            told = self.ledger.take(100)
            self._answer = told, self.place.add(told)

    def hear(self) -> None:
        if self._answer is not None:
            self.ledger.book(*self._answer)
            self._answer = None

    def settle(self) -> None:
        self.tell()
        self.hear()


STEPS = st.tuples(st.sampled_from("ppppppthk"), st.integers(0, 4))


@given(st.integers(1, 5), st.integers(1, 120), st.lists(STEPS, max_size=400))
def test_no_more_pass_than_the_limit_and_the_bound(nodes, limit, steps):
    place = Place(nodes)
    cluster = [Node(place) for _ in range(nodes)]
    lives, passed = nodes, 0
    for step, number in steps:
        node = cluster[number % nodes]
        match step:
            case "p":
                passed += sum(node.lets_pass(limit) for _ in range(7))
            case "t":
                node.tell()
            case "h":
                node.hear()
            case "k":  # it is killed, and another takes its place
                cluster[number % nodes] = Node(place)
                lives += 1
    passed += sum(node.lets_pass(limit) for node in cluster for _ in range(limit))
    assert passed <= limit + (lives - 1) * max(-(-limit // nodes), AHEAD_AT_LEAST)


@given(st.integers(1, 5), st.integers(1, 120))
def test_nobody_is_refused_too_early_who_gives_them_time(nodes, limit):
    place = Place(nodes)
    cluster = [Node(place) for _ in range(nodes)]
    for number in range(limit):
        node = cluster[number % nodes]
        assert node.lets_pass(limit)
        node.settle()
    for node in cluster:
        node.lets_pass(limit)
        node.settle()
        assert not node.lets_pass(limit)


def test_small_limits_do_not_refuse_a_few_at_the_same_time():
    node = Node(Place(nodes=200))
    assert [node.lets_pass(5) for _ in range(6)] == [True] * 5 + [False]


def test_a_node_that_is_alone_needs_to_wait_for_nobody():
    node = Node(Place(nodes=1))
    node.settle()
    assert sum(node.lets_pass(1000) for _ in range(1001)) == 1000


def test_of_many_nodes_each_has_its_share_until_it_hears_of_the_others():
    place = Place(nodes=10)
    one, other = Node(place), Node(place)
    one.lets_pass(1000), one.settle()
    assert sum(one.lets_pass(1000) for _ in range(1000)) == 100
    one.settle()
    assert sum(one.lets_pass(1000) for _ in range(1000)) == 90
    one.settle(), other.lets_pass(1000), other.settle()
    assert other.window.counts[ALICE] == 192


def test_what_is_counted_while_an_answer_is_on_its_way_is_told_later():
    node = Node(Place(nodes=1))
    node.ledger.count(node.window, ALICE, 3)
    node.tell()
    node.ledger.count(node.window, ALICE, 2)
    node.place.totals[ALICE] += 10  # from elsewhere, after the answer
    node.hear()
    assert (node.window.counts[ALICE], node.window.unsettled) == (5, {ALICE: 2})
    node.settle()
    assert (node.window.counts[ALICE], node.ledger.untold) == (15, 0)


def test_to_ask_counts_nothing():
    node = Node(Place(nodes=1))
    node.place.totals[ALICE] = 7
    node.ledger.count(node.window, ALICE, 0)
    node.settle()
    assert node.window.counts[ALICE] == node.place.totals[ALICE] == 7


def test_answers_about_a_window_that_is_over_are_of_no_use():
    node = Node(Place(nodes=1))
    node.lets_pass(5)
    node.tell()
    node.ledger.counters.turn_all(node.ledger.counters.clock() + 60)
    node.window.start += 60
    node.hear()
    assert node.window.counts == {}


def test_everybody_is_told_in_turn():
    node = Node(Place(nodes=1))
    hour = node.ledger.counters.enter(SCOPE).window(PERIODS[2])
    for key in range(150):
        node.ledger.count(node.window, key)
        node.ledger.count(hour, key)
    told: Counter[tuple[str, int | bytes]] = Counter()
    for _ in range(4):
        batch = node.ledger.take(100)
        told.update((count.period, count.key) for _, count in batch)
        node.ledger.book(batch, node.place.add(batch))
        node.ledger.count(node.window, 0)  # who comes again waits for the others
    assert len(told) == 300
    assert told.pop(("minute", 0)) > 1
    assert set(told.values()) == {1}


def test_it_is_woken_once_for_each_window():
    node = Node(Place(nodes=1))
    for _ in range(3):
        node.lets_pass(5)
        node.lets_pass(5, BOB)
    assert node.work == 1


def test_a_flood_of_newcomers_leaves_no_debts_behind():
    node = Node(Place(nodes=1))
    for key in range(5000):
        node.ledger.count(node.window, key)
    assert len(node.window.unsettled) <= 1000
    assert node.window.unsettled.keys() == node.window.counts.keys()

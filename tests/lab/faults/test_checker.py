"""The judge: good histories pass; a history that breaks one promise is told by that promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lab.faults.checker import SHOWN_PER_GUARANTEE, Guarantee, Verdict, check
from gateway.lab.faults.history import (
    Answered,
    Barrier,
    Event,
    Healed,
    HistoryError,
    Invoked,
    Outcome,
    Probe,
    Run,
    Tables,
)

from .histories import HEAL_BOUND_S, HELD, MAX_STALE_S, RUN, A, B, Cluster, Story, probes

# -- each guarantee broken, and nothing else


def a_node_goes_back(story: Story) -> list[Event]:
    story.writes(a="1")
    story.shows("n1", "1", "0")
    story.shows("n1", "0", "0")
    return story.heals()


def a_node_goes_back_to_an_earlier_coming_of_the_same_value(story: Story) -> list[Event]:
    story.writes(a="1")
    story.writes(b="1")
    story.writes(a="0")
    story.shows("n1", "0", "1")
    story.shows("n1", "0", "0")
    return story.heals()


def a_deleted_entity_comes_back(story: Story) -> list[Event]:
    story.writes(a=None)
    story.shows("n1", None, "0")
    story.shows("n1", "0", "0")
    return story.heals()


def a_request_sees_the_new_of_one_and_the_old_of_another(story: Story) -> list[Event]:
    story.writes(a="1")
    story.writes(b="1")
    story.shows("n1", "0", "1")
    return story.heals()


def a_request_sees_half_of_a_transaction(story: Story) -> list[Event]:
    story.writes(a="1", b="1")
    story.shows("n1", "1", "0")
    return story.heals()


def a_refused_write_is_served(story: Story) -> list[Event]:
    story.gives_up(Outcome.FAILED, a="1")
    story.shows("n1", "1", "0")
    return story.heals()


def something_is_served_that_nobody_wrote(story: Story) -> list[Event]:
    story.shows("n1", "0", "17")
    return story.heals()


def something_is_served_before_it_is_written(story: Story) -> list[Event]:
    story.shows("n1", "1", "0")
    story.writes(a="1")
    return story.heals()


def a_node_does_not_catch_up(story: Story) -> list[Event]:
    story.writes(a="1")
    story.events.append(Healed(story.now))
    story.shows("n1", "1", "0")
    story.shows("n2", "0", "0")
    return story.ends()


def a_node_says_nothing_any_more(story: Story) -> list[Event]:
    story.events.append(Healed(story.now))
    story.shows("n1", "0", "0")
    return story.ends()


def a_node_catches_up_too_late(story: Story) -> list[Event]:
    story.writes(a="1")
    story.events.append(Healed(story.now))
    story.shows("n1", "1", "0")
    story.now += HEAL_BOUND_S
    story.shows("n2", "1", "0")
    return story.ends()


def an_acknowledged_write_is_not_in_the_database(story: Story) -> list[Event]:
    story.events.append(Invoked(1, 99, "n1", {A: "1"}))
    story.events.append(Answered(2, 99, Outcome.OK, version=2))
    return story.heals()


def an_acknowledged_write_is_of_another_version(story: Story) -> list[Event]:
    story.writes(a="1")
    story.events.append(Invoked(story.now, 99, "n1", {A: "2"}))
    story.commits(3, {A: "2"})
    story.events.append(Answered(story.now, 99, Outcome.OK, version=2))
    return story.heals()


def the_tables_are_not_as_written(story: Story) -> list[Event]:
    story.writes(a="1", b="1")
    *history, tables = story.heals()
    assert isinstance(tables, Tables)
    return [*history, Tables({A: "1", B: "0"})]


def a_barrier_held_and_a_node_was_behind(story: Story) -> list[Event]:
    story.writes(a="1", barrier=HELD)
    story.shows("n2", "0", "0")
    return story.heals()


def a_node_that_was_not_counted_serves_what_it_had(story: Story) -> list[Event]:
    story.writes(a="1", barrier=Barrier(applied=1, counted=1, behind=[], unseen=["n2"]))
    story.shows("n2", "0", "0")
    return story.heals()


def a_process_started_after_a_barrier_serves_what_was_before(story: Story) -> list[Event]:
    story.writes(a="1", barrier=HELD)
    story.shows("n2", "0", "0", incarnation=2)
    return story.heals()


def an_answer_is_older_than_the_version_asked_for(story: Story) -> list[Event]:
    version = story.writes(a="1")
    story.shows("n1", "0", "0", min_version=version)
    return story.heals()


def an_answer_has_been_outdated_for_too_long(story: Story) -> list[Event]:
    story.writes(a="1")
    story.now += MAX_STALE_S
    story.shows("n1", "0", "0")
    return story.heals()


def an_answer_is_too_old_though_it_may_be_newer_than_the_next(story: Story) -> list[Event]:
    """The first may be of 1 or 2: that it has to be of 2 is no evidence against the second."""
    story.writes(a="1")
    story.shows("n1", "0", "0")
    story.now += MAX_STALE_S
    story.events[-1] = replace(story.shows("n1", "0", "0"), key="other", seen={B: "0"})
    story.shows("n1", "0", "0")
    return story.heals()


BROKEN: dict[Guarantee, list[Callable[[Story], list[Event]]]] = {
    Guarantee.NEVER_BACK: [
        a_node_goes_back,
        a_node_goes_back_to_an_earlier_coming_of_the_same_value,
        a_deleted_entity_comes_back,
    ],
    Guarantee.ONE_VERSION: [
        a_request_sees_the_new_of_one_and_the_old_of_another,
        a_request_sees_half_of_a_transaction,
    ],
    Guarantee.CONTAINED: [
        a_refused_write_is_served,
        something_is_served_that_nobody_wrote,
        something_is_served_before_it_is_written,
    ],
    Guarantee.HEALED: [
        a_node_does_not_catch_up,
        a_node_says_nothing_any_more,
        a_node_catches_up_too_late,
    ],
    Guarantee.SURVIVES: [
        an_acknowledged_write_is_not_in_the_database,
        an_acknowledged_write_is_of_another_version,
        the_tables_are_not_as_written,
    ],
    Guarantee.BARRIER: [
        a_barrier_held_and_a_node_was_behind,
        a_node_that_was_not_counted_serves_what_it_had,
        a_process_started_after_a_barrier_serves_what_was_before,
    ],
    Guarantee.MIN_VERSION: [an_answer_is_older_than_the_version_asked_for],
    Guarantee.NOT_TOO_OLD: [
        an_answer_has_been_outdated_for_too_long,
        an_answer_is_too_old_though_it_may_be_newer_than_the_next,
    ],
}


def test_each_guarantee_has_a_history_that_breaks_it() -> None:
    assert set(BROKEN) == set(Guarantee)


@pytest.mark.parametrize(
    ("guarantee", "tell"),
    [(guarantee, tell) for guarantee, tellers in BROKEN.items() for tell in tellers],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_broken_guarantee_is_found_and_no_other(
    guarantee: Guarantee, tell: Callable[[Story], list[Event]]
) -> None:
    history = tell(Story())
    verdict = check(history)
    if tell is the_tables_are_not_as_written:
        verdict.broken.pop(Guarantee.HEALED)  # which equals the database, who can say
    assert set(verdict.broken) == {guarantee}
    assert not verdict.holds
    (violation, *_) = verdict.violations
    assert set(map(id, violation.events)) <= set(map(id, history))


# -- what is no violation


def at_no_point(story: Story) -> list[Event]:
    return story.heals()


def nodes_are_stale_each_in_its_way(story: Story) -> list[Event]:
    story.writes(a="1")
    story.shows("n1", "1", "0")
    story.shows("n2", "0", "0")
    return story.heals()


def an_unknown_write_was_committed(story: Story) -> list[Event]:
    story.gives_up(Outcome.UNKNOWN, a="1")
    story.commits(2, {A: "1"})
    story.shows("n1", "1", "0")
    return story.heals()


def an_unknown_write_was_not_committed(story: Story) -> list[Event]:
    story.gives_up(Outcome.UNKNOWN, a="1")
    story.shows("n1", "0", "0")
    return story.heals()


def another_process_begins_further_back(story: Story) -> list[Event]:
    story.writes(a="1")
    story.shows("n1", "1", "0")
    story.shows("n1", "0", "0", incarnation=2)
    return story.heals()


def an_answer_overtakes_another(story: Story) -> list[Event]:
    story.writes(a="1")
    story.shows("n1", "1", "0", sent_at=10, at=12)
    story.shows("n1", "0", "0", sent_at=11, at=13)
    story.now = 13
    return story.heals()


def a_value_comes_again(story: Story) -> list[Event]:
    story.writes(a="1")
    story.shows("n1", "1", "0")
    story.writes(a="0")
    story.shows("n1", "0", "0")
    return story.heals()


def an_answer_has_been_outdated_for_as_long_as_allowed(story: Story) -> list[Event]:
    story.writes(a="1")
    acknowledged_at = story.now
    story.now += MAX_STALE_S
    story.shows("n1", "0", "0", sent_at=acknowledged_at + MAX_STALE_S - 0.001)
    return story.heals()


def a_transaction_writes_a_register_twice(story: Story) -> list[Event]:
    story.commits(2, {A: "1"})
    story.commits(2, {A: "2"})
    story.shows("n1", "2", "0")
    return story.heals()


def a_barrier_did_not_hold(story: Story) -> list[Event]:
    story.writes(a="1", barrier=Barrier(applied=1, counted=2, behind=["n2"], unseen=[]))
    story.shows("n2", "0", "0")
    return story.heals()


def a_request_was_on_its_way_when_the_barrier_held(story: Story) -> list[Event]:
    story.writes(a="1", barrier=HELD)
    story.shows("n2", "0", "0", sent_at=story.now - 0.5)
    return story.heals()


def a_refusal_shows_nothing(story: Story) -> list[Event]:
    version = story.writes(a="1", barrier=HELD)
    story.shows("n2", None, None, status=503, seen={}, min_version=version)
    return story.heals()


def deleting_what_is_not_there_makes_no_version(story: Story) -> list[Event]:
    version = story.writes(a=None)
    story.events.append(Invoked(story.now + 10, 99, "n1", {A: None}))
    story.events.append(Answered(story.now + 11, 99, Outcome.OK, version=version))
    story.shows("n1", None, "0", min_version=version)
    return story.heals()


@pytest.mark.parametrize(
    "tell",
    [
        at_no_point,
        nodes_are_stale_each_in_its_way,
        an_unknown_write_was_committed,
        an_unknown_write_was_not_committed,
        another_process_begins_further_back,
        an_answer_overtakes_another,
        a_value_comes_again,
        an_answer_has_been_outdated_for_as_long_as_allowed,
        a_transaction_writes_a_register_twice,
        a_barrier_did_not_hold,
        a_request_was_on_its_way_when_the_barrier_held,
        a_refusal_shows_nothing,
        deleting_what_is_not_there_makes_no_version,
    ],
)
def test_all_guarantees_hold_where(tell: Callable[[Story], list[Event]]) -> None:
    assert violations(check(tell(Story()))) == []


@settings(deadline=None)
@given(st.integers())
def test_a_cluster_that_keeps_its_promises_is_never_accused(seed: int) -> None:
    assert violations(check(Cluster(seed).history())) == []


@settings(deadline=None)
@given(st.integers(), st.data())
def test_the_order_in_which_events_were_written_down_does_not_matter(
    seed: int, data: st.DataObject
) -> None:
    history = Cluster(seed).history()
    others = [event for event in history if not isinstance(event, Probe)]
    shuffled = data.draw(st.permutations(list(probes(history))))
    assert violations(check([*others, *shuffled])) == []


@settings(deadline=None)
@given(st.integers(), st.data())
def test_a_node_that_goes_back_is_found_out_whatever_was_before(
    seed: int, data: st.DataObject
) -> None:
    story = Cluster(seed).story()
    node = data.draw(st.sampled_from(RUN.nodes))
    before = story.values[B]
    story.writes(a="new")
    story.writes(b="new")
    story.shows(node, "new", "new", incarnation=99)
    story.shows(node, "new", before, incarnation=99)
    assert set(check(story.heals()).broken) == {Guarantee.NEVER_BACK}


# -- what it says


def violations(verdict: Verdict) -> list[str]:
    return [violation.says for violation in verdict.violations]


def test_a_violation_names_the_node_what_it_showed_and_which_versions_had_that() -> None:
    verdict = check(a_request_sees_the_new_of_one_and_the_old_of_another(Story()))
    assert violations(verdict) == [
        f"n1 showed {A} = 0 (versions 1 to 1), {B} = 1 (versions 3 and on): "
        "no version had all of this at once"
    ]


def test_every_test_is_counted_but_only_the_first_violations_are_kept() -> None:
    story = Story()
    story.writes(a="1")
    story.shows("n1", "1", "0")
    for _ in range(3 * SHOWN_PER_GUARANTEE):
        story.shows("n1", "0", "0")
    verdict = check(story.heals())
    assert verdict.broken[Guarantee.NEVER_BACK] == 3 * SHOWN_PER_GUARANTEE
    assert len(verdict.violations) == SHOWN_PER_GUARANTEE
    assert verdict.tested[Guarantee.NEVER_BACK] == 3 * SHOWN_PER_GUARANTEE + 1


def test_the_longest_stale_window_counts_from_the_acknowledgement() -> None:
    story = Story()
    story.writes(a="1")
    acknowledged_at = story.now
    probe = story.shows("n2", "0", "0")
    verdict = check(story.heals())
    assert verdict.longest_stale_s == probe.sent_at - acknowledged_at
    assert verdict.stalest is probe


@pytest.mark.parametrize("missing", [Run, Healed, Tables])
def test_the_history_of_a_run_that_was_broken_off_is_not_judged(missing: type) -> None:
    history = [event for event in Story().heals() if not isinstance(event, missing)]
    with pytest.raises(HistoryError, match="broken off"):
        check(history)


def test_probes_that_got_no_answer_are_no_evidence() -> None:
    story = Story()
    story.writes(a="1")
    lost = replace(story.shows("n1", "0", "0"), status=None, seen={})
    story.events[-1] = lost
    assert check(story.heals()).holds

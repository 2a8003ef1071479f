"""Which object of a plugin runs: the most specific, in the order of priorities."""

from __future__ import annotations

from itertools import combinations
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from gateway.plugins.chain import RunningPlugin, Scope, Slot, slots_of
from gateway.plugins.contract import Plugin, Use

ROUTE, SERVICE, CONSUMER = uuid4(), uuid4(), uuid4()

PRECEDENCE = [
    Scope(ROUTE, SERVICE, CONSUMER),
    Scope(ROUTE, None, CONSUMER),
    Scope(None, SERVICE, CONSUMER),
    Scope(ROUTE, SERVICE, None),
    Scope(None, None, CONSUMER),
    Scope(ROUTE, None, None),
    Scope(None, SERVICE, None),
    Scope(None, None, None),
]
"""plugins.md section 3, the most specific first."""


class Named(Plugin):
    name = "named"
    priority = 1


def use(scope: Scope) -> RunningPlugin:
    return RunningPlugin(Named(Plugin.Config(), Use(uuid4(), "named", *scope)))


def uses(*scopes: Scope) -> Map[tuple[str, Scope], RunningPlugin]:
    return Map({("named", scope): use(scope) for scope in scopes})


def chosen(scopes: list[Scope], consumer: UUID | None) -> Scope | None:
    has_consumers = any(scope.consumer_id is not None for scope in scopes)
    slots = slots_of(uses(*scopes), [("named", has_consumers)], ROUTE, SERVICE)
    if not slots:
        return None
    (slot,) = slots
    found = slot.anybodys if consumer is None else slot.choose(consumer)
    return None if found is None else found.scope


@pytest.mark.parametrize(("better", "worse"), [*combinations(PRECEDENCE, 2)])
def test_the_more_specific_wins(better: Scope, worse: Scope):
    assert chosen([worse, better], CONSUMER) == better


@given(st.sets(st.sampled_from(PRECEDENCE)))
def test_the_first_that_there_is_wins(scopes: set[Scope]):
    expected = next((scope for scope in PRECEDENCE if scope in scopes), None)
    assert chosen(list(scopes), CONSUMER) == expected


@given(st.sets(st.sampled_from(PRECEDENCE)))
def test_nothing_for_a_consumer_runs_without_one(scopes: set[Scope]):
    anybodys = [s for s in PRECEDENCE if s in scopes and s.consumer_id is None]
    assert chosen(list(scopes), None) == (anybodys[0] if anybodys else None)


@given(st.sets(st.sampled_from(PRECEDENCE)))
def test_what_is_for_others_does_not_run(scopes: set[Scope]):
    foreign = uuid4()
    others = [
        scope._replace(**{field: foreign})
        for scope in scopes
        for field in Scope._fields
        if getattr(scope, field) is not None
    ]
    assert chosen(others, CONSUMER) is None or not others


def test_a_plugin_that_is_not_for_the_route_has_no_slot():
    elsewhere = uses(Scope(uuid4()), Scope(None, uuid4()))
    assert slots_of(elsewhere, [("named", False)], ROUTE, SERVICE) == ()


def test_a_route_without_service_meets_what_is_for_all_and_for_itself():
    found = slots_of(uses(Scope(None, SERVICE), Scope()), [("named", False)], ROUTE, None)
    assert [slot.anybodys and slot.anybodys.scope for slot in found] == [Scope()]


def test_slots_keep_the_order_they_are_asked_for():
    both = Map({(name, Scope()): use(Scope()) for name in ("a", "b")})
    assert [slot.name for slot in slots_of(both, [("b", False), ("a", False)], ROUTE, SERVICE)] == [
        "b",
        "a",
    ]


def test_a_phase_that_is_not_there_costs_no_call():
    assert use(Scope()).access is None
    assert isinstance(Slot("named", None, None, None, None), Slot)

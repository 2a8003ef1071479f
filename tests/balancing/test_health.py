"""The state machine of health, row by row, and against a model of its own (balancer.md, 6.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.balancing.health import Health, Limits, Report, State

OK, HTTP, TCP, LATE = Report
UP, MOSTLY_UP, DOWN, MOSTLY_DOWN = State
LIMITS = Limits(successes=2, http_failures=3, tcp_failures=2, timeouts=1)


def health(state: State, *counts: int) -> Health:
    """In a state with these counts, in the order of `Report`."""
    health = Health()
    health.state, health.counts = state, list(counts)
    return health


def told(health: Health) -> tuple[State, tuple[int, ...]]:
    return health.state, tuple(health.counts)


ROWS = [
    # what is ignored: what has no limit, and what is settled
    (UP, (0, 0, 0, 0), OK, LIMITS, UP, (0, 0, 0, 0)),
    (DOWN, (0, 3, 0, 0), HTTP, LIMITS, DOWN, (0, 3, 0, 0)),
    (DOWN, (0, 3, 0, 0), LATE, LIMITS, DOWN, (0, 3, 0, 0)),
    (MOSTLY_UP, (0, 2, 0, 0), OK, Limits(0, 3, 2, 1), MOSTLY_UP, (0, 2, 0, 0)),
    (MOSTLY_UP, (1, 0, 0, 0), HTTP, Limits(2, 0, 2, 1), MOSTLY_UP, (1, 0, 0, 0)),
    (MOSTLY_DOWN, (1, 0, 0, 0), TCP, Limits(2, 3, 0, 1), MOSTLY_DOWN, (1, 0, 0, 0)),
    (UP, (0, 0, 0, 0), LATE, Limits(), UP, (0, 0, 0, 0)),
    # failures of each kind have a count of their own, and undo successes
    (UP, (0, 0, 0, 0), HTTP, LIMITS, MOSTLY_UP, (0, 1, 0, 0)),
    (UP, (0, 0, 0, 0), TCP, LIMITS, MOSTLY_UP, (0, 0, 1, 0)),
    (UP, (0, 0, 0, 0), LATE, LIMITS, DOWN, (0, 0, 0, 1)),
    (MOSTLY_UP, (0, 2, 0, 0), TCP, LIMITS, MOSTLY_UP, (0, 2, 1, 0)),
    (MOSTLY_UP, (0, 2, 1, 0), TCP, LIMITS, DOWN, (0, 2, 2, 0)),
    (MOSTLY_UP, (0, 2, 1, 0), HTTP, LIMITS, DOWN, (0, 3, 1, 0)),
    (MOSTLY_UP, (1, 0, 0, 0), HTTP, LIMITS, MOSTLY_UP, (0, 1, 0, 0)),
    (MOSTLY_DOWN, (1, 0, 0, 0), HTTP, LIMITS, MOSTLY_DOWN, (0, 1, 0, 0)),
    (MOSTLY_DOWN, (1, 2, 0, 0), HTTP, LIMITS, DOWN, (0, 3, 0, 0)),
    # successes undo all failures
    (MOSTLY_UP, (0, 2, 1, 0), OK, LIMITS, MOSTLY_UP, (1, 0, 0, 0)),
    (MOSTLY_UP, (1, 0, 0, 0), OK, LIMITS, UP, (2, 0, 0, 0)),
    (DOWN, (0, 3, 1, 0), OK, LIMITS, MOSTLY_DOWN, (1, 0, 0, 0)),
    (MOSTLY_DOWN, (1, 0, 0, 0), OK, LIMITS, UP, (2, 0, 0, 0)),
    (DOWN, (0, 3, 1, 0), OK, Limits(successes=1), UP, (1, 0, 0, 0)),
]


@pytest.mark.parametrize(("state", "counts", "report", "limits", "after", "counts_after"), ROWS)
def test_a_report_has_its_effect(
    state: State,
    counts: tuple[int, ...],
    report: Report,
    limits: Limits,
    after: State,
    counts_after: tuple[int, ...],
) -> None:
    it = health(state, *counts)
    it.hear(report, limits)
    assert told(it) == (after, counts_after)


def test_the_trace_of_the_sheet() -> None:
    limits = Limits(successes=2, http_failures=3)
    it = Health()
    trace = []
    for report in (HTTP, HTTP, OK, OK, HTTP, HTTP, HTTP):
        it.hear(report, limits)
        trace.append((it.counts[OK], it.counts[HTTP], it.state.value))
    assert trace == [
        (0, 1, "mostly_healthy"),
        (0, 2, "mostly_healthy"),
        (1, 0, "mostly_healthy"),
        (2, 0, "healthy"),
        (0, 1, "mostly_healthy"),
        (0, 2, "mostly_healthy"),
        (0, 3, "unhealthy"),
    ]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("healthy", [True, False])
def test_a_state_that_is_forced_is_settled(state: State, healthy: bool) -> None:
    it = health(state, 1, 2, 3, 4)
    it.force(healthy=healthy)
    assert told(it) == (UP if healthy else DOWN, (0, 0, 0, 0))
    assert it.is_pristine is healthy


def test_only_those_are_available_that_are_healthy_at_least_mostly() -> None:
    assert [state for state in State if state.is_available] == [UP, MOSTLY_UP]


# -- a model: the whole history is looked at anew each time

Event = tuple[Report, Limits] | bool  # a report, or a state that is forced


def model(events: list[Event]) -> State:
    """The state that a history leads to.

    Reports that are not ignored are kept in a list. It ends with a run of successes, or there are
    none that count; failures of a kind are those since the last success.
    """
    available, heard = True, list[Report]()
    settled = True  # there is nothing pending against what is thought
    for event in events:
        if isinstance(event, bool):
            available, heard, settled = event, [], True
            continue
        report, limits = event
        good = report is OK
        if not limits[report] or (settled and good is available):
            continue
        heard.append(report)
        last_of_other_sort = [n for n, other in enumerate(heard) if (other is OK) is not good]
        since = heard[last_of_other_sort[-1] + 1 :] if last_of_other_sort else heard
        if since.count(report) >= limits[report]:
            available, settled = good, True
        elif good is not available:
            settled = False
    if available:
        return UP if settled else MOSTLY_UP
    return DOWN if settled else MOSTLY_DOWN


counters = st.integers(0, 4)
sides = st.tuples(*[st.builds(Limits, counters, counters, counters, counters)] * 2)


@given(sides, st.lists(st.tuples(st.sampled_from(Report), st.booleans()) | st.booleans()))
def test_it_does_what_the_model_says(
    sides: tuple[Limits, Limits], drawn: list[tuple[Report, bool] | bool]
) -> None:
    events: list[Event] = [
        event if isinstance(event, bool) else (event[0], sides[event[1]]) for event in drawn
    ]
    it = Health()
    for number, event in enumerate(events, 1):
        if isinstance(event, bool):
            it.force(healthy=event)
        else:
            it.hear(*event)
        assert it.state is model(events[:number])

"""Judges a recorded history: which guarantees it breaks, and by which events. Pure.

What a request showed of the registers narrows down which version it was answered from; when a
guarantee leaves none of these, it is broken.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from itertools import product
from typing import NamedTuple

from gateway.lab.faults.history import (
    Answered,
    Commit,
    Event,
    Healed,
    HistoryError,
    Invoked,
    Outcome,
    Probe,
    Register,
    Run,
    Tables,
    Value,
)
from gateway.lab.faults.timeline import FOREVER, Clock, Span, Timeline

SHOWN_PER_GUARANTEE = 5
"""Violations that are kept with their events; a node that went wrong once may do so for long."""


class Guarantee(StrEnum):
    """What is promised of every history."""

    NEVER_BACK = "a node's observed version never goes back"
    ONE_VERSION = "no request sees a mixture of two versions"
    CONTAINED = "nothing is served that no version contained"
    HEALED = "after healing all nodes equal the database"
    SURVIVES = "every acknowledged write survives"
    BARRIER = "a barrier that held was true on all nodes"
    MIN_VERSION = "no answer is older than the version asked for"
    NOT_TOO_OLD = "no node serves what has been outdated for longer than max_stale_s"


@dataclass(frozen=True, slots=True)
class Violation:
    """A guarantee broken: by what, in one line, and the events concerned."""

    guarantee: Guarantee
    says: str
    events: tuple[Event, ...]


@dataclass(slots=True)
class Verdict:
    """What came out: per guarantee how often it was put to the test and how often it broke.

    ``violations`` are the first few of each. ``longest_stale_s`` is the longest time for which a
    node certainly served an outdated version, ``stalest`` the probe that showed it.
    """

    run: Run
    tested: Counter[Guarantee] = field(default_factory=Counter)
    broken: Counter[Guarantee] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    longest_stale_s: float = 0.0
    stalest: Probe | None = None

    @property
    def holds(self) -> bool:
        """Whether no guarantee was broken."""
        return not self.broken.total()

    def add(self, violation: Violation) -> None:
        """Count a violation, and keep it if it is one of the first of its kind."""
        self.broken[violation.guarantee] += 1
        if self.broken[violation.guarantee] <= SHOWN_PER_GUARANTEE:
            self.violations.append(violation)


def check(events: Iterable[Event]) -> Verdict:
    """Judge a history. Raises HistoryError if it is not one of a run that came to its end."""
    history = _History(events)
    verdict = Verdict(history.run)
    _ProbeChecks(history, verdict).run()
    _check_survival(history, verdict)
    _check_healing(history, verdict)
    return verdict


class _History:
    """The events by kind. Raises HistoryError if there is no beginning or no end."""

    def __init__(self, events: Iterable[Event]) -> None:
        runs: list[Run] = []
        healings: list[Healed] = []
        ends: list[Tables] = []
        self.invoked: dict[int, Invoked] = {}
        self.acknowledged: list[Answered] = []
        self.probes: list[Probe] = []
        self.commits: list[Commit] = []
        for event in events:
            match event:
                case Probe():
                    self.probes.append(event)
                case Invoked():
                    self.invoked[event.write] = event
                case Answered(outcome=Outcome.OK):
                    self.acknowledged.append(event)
                case Commit():
                    self.commits.append(event)
                case Run():
                    runs.append(event)
                case Healed():
                    healings.append(event)
                case Tables():
                    ends.append(event)
        if not (runs and healings and ends):
            raise HistoryError("the history has no beginning or no end: its run was broken off")
        self.run, self.healed, self.tables = runs[0], healings[0], ends[0]
        self.timeline = Timeline(self.commits)

    def clock(self) -> Clock:
        """Return when versions came to be.

        By writes that store something: a deletion of what is not there names a version that was
        there before.
        """
        known = [(answer, self.invoked[answer.write]) for answer in self.acknowledged]
        return Clock(
            (answer.version, invoked.at, answer.at)
            for answer, invoked in known
            if answer.version is not None and any(invoked.values.values())
        )


# -- what each request may have been answered from


class _Bound(NamedTuple):
    """A version than which an answer must not be older, by which guarantee and because of what."""

    guarantee: Guarantee
    version: int
    because: Event


class _ProbeChecks:
    """Goes through the probes of each process of a node in the order they were sent."""

    def __init__(self, history: _History, verdict: Verdict) -> None:
        self._run = history.run
        self._probes = history.probes
        self._timeline = history.timeline
        self._clock = history.clock()
        self._barriers = _Barriers(history.acknowledged)
        self._verdict = verdict

    def run(self) -> None:
        """Check all probes that showed something."""
        of_process: dict[tuple[str, int], list[Probe]] = defaultdict(list)
        for probe in self._probes:
            if probe.seen:
                of_process[probe.node, probe.incarnation].append(probe)
        for probes in of_process.values():
            self._check_process(sorted(probes, key=lambda probe: probe.sent_at))

    def _check_process(self, probes: list[Probe]) -> None:
        """Check probes in order; what one may have seen binds those sent after its answer."""
        under_way: list[tuple[float, int, _Bound]] = []
        floor: _Bound | None = None
        for number, probe in enumerate(probes):
            while under_way and under_way[0][0] < probe.sent_at:
                bound = heappop(under_way)[2]
                if floor is None or bound.version > floor.version:
                    floor = bound
            spans = self._versions_shown(probe)
            if not spans:
                continue
            for bound in self._promises(probe):
                self._left(probe, spans, bound)
            if floor is not None:
                spans = self._left(probe, spans, floor) or spans
            self._note_staleness(probe, spans[-1][1] - 1)
            lowest = _Bound(Guarantee.NEVER_BACK, spans[0][0], probe)
            heappush(under_way, (probe.at, number, lowest))

    def _versions_shown(self, probe: Probe) -> list[Span]:
        """Return the versions that had all of what a probe saw, as far as they were there yet."""
        newest = self._clock.newest_possible(probe.at)
        unknown = [
            register
            for register, value in probe.seen.items()
            if not _up_to(newest, self._timeline.spans(register, value))
        ]
        self._test(Guarantee.CONTAINED, probe, not unknown, f"no version had {_list(unknown)} so")
        if unknown:
            return []
        spans = _up_to(newest, self._timeline.showing(probe.seen))
        self._test(Guarantee.ONE_VERSION, probe, bool(spans), "no version had all of this at once")
        return spans

    def _promises(self, probe: Probe) -> Iterator[_Bound]:
        """Yield what binds a probe, whatever other probes saw."""
        barrier = self._barriers.before(probe.sent_at)
        if barrier is not None:
            yield barrier
        if probe.min_version is not None:
            yield _Bound(Guarantee.MIN_VERSION, probe.min_version, probe)
        oldest = self._clock.newest_certain(probe.sent_at - self._run.max_stale_s)
        if oldest:
            yield _Bound(Guarantee.NOT_TOO_OLD, oldest, self._run)

    def _left(self, probe: Probe, spans: list[Span], bound: _Bound) -> list[Span]:
        """Return the spans from the bound on; if none is left, that is a violation."""
        left = [(max(begin, bound.version), end) for begin, end in spans if end > bound.version]
        says = f"it is of version {spans[-1][1] - 1} at best, not {bound.version} or newer"
        self._test(bound.guarantee, probe, bool(left), says, bound.because)
        return left

    def _test(
        self, guarantee: Guarantee, probe: Probe, holds: bool, says: str, *because: Event
    ) -> None:
        self._verdict.tested[guarantee] += 1
        if not holds:
            shown = ", ".join(map(self._described, probe.seen.items()))
            says = f"{probe.node} showed {shown}: {says}"
            self._verdict.add(Violation(guarantee, says, (*because, probe)))

    def _described(self, item: tuple[Register, Value]) -> str:
        register, value = item
        spans = self._timeline.spans(register, value)
        versions = ", ".join(map(_range, spans)) or "none"
        return f"{register} = {value} (versions {versions})"

    def _note_staleness(self, probe: Probe, newest: int) -> None:
        outdated_at = self._clock.committed_by(newest + 1)
        stale_s = probe.sent_at - (probe.sent_at if outdated_at is None else outdated_at)
        if stale_s > self._verdict.longest_stale_s:
            self._verdict.longest_stale_s = stale_s
            self._verdict.stalest = probe


class _Barriers:
    """The newest version that a node had for certain, by barriers which held.

    A node that the cluster had stopped counting is bound all the same: by then it refuses requests
    until it has synced.
    """

    def __init__(self, acknowledged: Iterable[Answered]) -> None:
        self._at: list[float] = []
        self._bounds: list[_Bound] = []
        for answer in sorted(acknowledged, key=lambda answer: answer.at):
            if answer.version is None or answer.barrier is None or not answer.barrier.held:
                continue
            if not self._bounds or answer.version > self._bounds[-1].version:
                self._at.append(answer.at)
                self._bounds.append(_Bound(Guarantee.BARRIER, answer.version, answer))

    def before(self, at: float) -> _Bound | None:
        """Return what binds an answer to a request sent at this moment."""
        i = bisect_left(self._at, at)
        return self._bounds[i - 1] if i else None


def _up_to(newest: int, spans: Iterable[Span]) -> list[Span]:
    return [(begin, min(end, newest + 1)) for begin, end in spans if begin <= newest]


# -- what is in the database


def _check_survival(history: _History, verdict: Verdict) -> None:
    """What was acknowledged is in the version it was acknowledged with; the tables are the last."""
    for answer in history.acknowledged:
        invoked = history.invoked[answer.write]
        verdict.tested[Guarantee.SURVIVES] += 1
        lost = [
            register
            for register, value in invoked.values.items()
            if not history.timeline.had(answer.version or 0, register, value)
        ]
        if lost:
            says = f"version {answer.version} does not have {_list(lost)} as acknowledged"
            verdict.add(Violation(Guarantee.SURVIVES, says, (invoked, answer)))
    if history.tables.values != history.timeline.last:
        says = "the tables are not what the commits made of them"
        verdict.add(Violation(Guarantee.SURVIVES, says, (history.tables,)))


def _check_healing(history: _History, verdict: Verdict) -> None:
    """Each node showed, of each key, what is in the database, within the bound after healing."""
    run, healed_at = history.run, history.healed.at
    last: dict[tuple[str, str], Probe] = {}
    equal: set[tuple[str, str]] = set()
    for probe in history.probes:
        if probe.sent_at > healed_at and probe.at <= healed_at + run.heal_bound_s:
            last[probe.node, probe.key] = probe
            if probe.seen and probe.seen.items() <= history.tables.values.items():
                equal.add((probe.node, probe.key))
    for asked in product(run.nodes, run.keys):
        verdict.tested[Guarantee.HEALED] += 1
        if asked not in equal:
            node, key = asked
            says = (
                f"{node} did not show {key} as it is in the database within {run.heal_bound_s:g} s"
            )
            events = [last[asked]] if asked in last else []
            verdict.add(Violation(Guarantee.HEALED, says, (history.healed, *events)))


# -- words


def _range(span: Span) -> str:
    begin, end = span
    return f"{begin} and on" if end == FOREVER else f"{begin} to {end - 1}"


def _list(names: Iterable[str]) -> str:
    return " and ".join(names)

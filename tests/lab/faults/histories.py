"""Histories made by hand, and by a cluster that exists only in memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gateway.lab.faults.history import (
    Answered,
    Barrier,
    Commit,
    Event,
    Healed,
    Invoked,
    Outcome,
    Probe,
    Run,
    Tables,
    Values,
)

A, B = "services/k", "upstreams/k"
MAX_STALE_S = 50.0
HEAL_BOUND_S = 10.0
HELD = Barrier(applied=2, counted=2, behind=[], unseen=[])

RUN = Run(
    began_at="2026-01-01T00:00:00+00:00",
    seed=1,
    minutes=1,
    strategy="notify",
    faults=[],
    nodes=["n1", "n2"],
    keys=["k"],
    max_stale_s=MAX_STALE_S,
    heal_bound_s=HEAL_BOUND_S,
)


class Story:
    """Tells a history of two nodes and one key with two registers, moment by moment.

    Version 1 gives both registers the value 0. Each sentence takes a second, unless it says when.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.version = 1
        self.values: Values = {A: "0", B: "0"}
        self.events: list[Event] = [RUN, Commit(1, A, "0"), Commit(1, B, "0")]
        self._writes = 0

    def writes(self, barrier: Barrier | None = None, **values: str | None) -> int:
        """Have a write acknowledged; return its version."""
        self.version += 1
        changed = {{"a": A, "b": B}[name]: value for name, value in values.items()}
        write = self._invoke(changed)
        self.commits(self.version, changed)
        self.events.append(
            Answered(self._next(), write, Outcome.OK, version=self.version, barrier=barrier)
        )
        return self.version

    def gives_up(self, outcome: Outcome, **values: str | None) -> None:
        """Have a write that failed, or of which nobody knows."""
        write = self._invoke({{"a": A, "b": B}[name]: value for name, value in values.items()})
        self.events.append(Answered(self._next(), write, outcome))

    def commits(self, version: int, values: Values) -> None:
        """Have something in the database, whoever wrote it."""
        self.version = version
        self.values |= values
        self.events += [Commit(version, *item) for item in values.items()]

    def shows(self, node: str, a: str | None, b: str | None, **more: Any) -> Probe:
        """Have a node asked, and answer."""
        probe = Probe(
            sent_at=self._next(),
            at=self._next(),
            node=node,
            incarnation=1,
            key="k",
            status=200,
            seen={A: a, B: b},
        )
        self.events.append(probe := replace(probe, **more))
        return probe

    def heals(self) -> list[Event]:
        """Have both nodes show what is in the database; return the whole history."""
        self.events.append(Healed(self._next()))
        for node in RUN.nodes:
            self.shows(node, self.values[A], self.values[B])
        return self.ends()

    def ends(self) -> list[Event]:
        return [*self.events, Tables(dict(self.values))]

    def _invoke(self, values: Values) -> int:
        self._writes += 1
        self.events.append(Invoked(self._next(), self._writes, "n1", values))
        return self._writes

    def _next(self) -> float:
        self.now += 1
        return self.now


class Cluster:
    """A cluster in memory that keeps all promises, by chance: versions, and who has which."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._story = Story()
        self._versions: list[Values] = [{}, dict(self._story.values)]
        self._applied = dict.fromkeys(RUN.nodes, 1)
        self._incarnation = dict.fromkeys(RUN.nodes, 1)
        self._acknowledged: list[tuple[float, int]] = []

    def story(self, steps: int = 40) -> Story:
        """Live for a while; return what can still be told on."""
        for _ in range(steps):
            self._dice.choice([self._write, self._apply, self._probe, self._probe, self._restart])()
        return self._story

    def history(self) -> list[Event]:
        return self.story().heals()

    def _write(self) -> None:
        dice, story = self._dice, self._story
        names = dice.choice([["a"], ["b"], ["a", "b"]])
        # Values come back, so that one may stand for many versions.
        values = {name: str(dice.randrange(4)) for name in names}
        if dice.random() < 0.2:
            story.gives_up(Outcome.UNKNOWN, **values)
            if dice.random() < 0.5:
                return
            story.commits(story.version + 1, {{"a": A, "b": B}[n]: v for n, v in values.items()})
        elif dice.random() < 0.2:
            story.writes(barrier=HELD, **values)
            self._applied = dict.fromkeys(RUN.nodes, story.version)
        else:
            story.writes(**values)
        self._versions.append(dict(story.values))
        self._acknowledged.append((story.now, story.version))

    def _apply(self) -> None:
        node = self._dice.choice(RUN.nodes)
        self._applied[node] = self._dice.randint(self._applied[node], self._story.version)

    def _probe(self) -> None:
        node = self._dice.choice(RUN.nodes)
        if self._dice.random() < 0.2:
            self._apply()
            min_version = self._dice.randint(1, self._applied[node])
        else:
            min_version = None
        synced_at = self._story.now + 2 - MAX_STALE_S
        oldest = [version for at, version in self._acknowledged if at <= synced_at]
        self._applied[node] = max([self._applied[node], *oldest])
        values = self._versions[self._applied[node]]
        incarnation = self._incarnation[node]
        self._story.shows(
            node, values[A], values[B], incarnation=incarnation, min_version=min_version
        )

    def _restart(self) -> None:
        node = self._dice.choice(RUN.nodes)
        self._incarnation[node] += 1
        self._applied[node] = self._story.version


def probes(history: list[Event]) -> Iterator[Probe]:
    return (event for event in history if isinstance(event, Probe))

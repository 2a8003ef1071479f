"""What was measured: plain values, as they also stand in result.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.lab.staleness.changes import Kind, Verdict


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer of a probe; times are in ms from the moment the write was acknowledged."""

    sent_ms: float
    received_ms: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Observation:
    """One change as one node showed it, in every answer until the first fresh one."""

    node: str
    answers: tuple[Seen, ...]

    @property
    def window_ms(self) -> float | None:
        """From the acknowledgement to the first fresh answer, at least 0; None: none came."""
        last = self.answers[-1] if self.answers else None
        if last is None or last.verdict is not Verdict.FRESH:
            return None
        return max(0.0, last.received_ms)

    @property
    def resolution_ms(self) -> float | None:
        """Between the requests of the last two answers: where in there it got fresh is unknown."""
        if self.window_ms is None or len(self.answers) < 2:
            return None
        return self.answers[-1].received_ms - self.answers[-2].sent_ms

    @property
    def stale_answers(self) -> int:
        """How many requests sent after the acknowledgement were answered by the old state."""
        return self._number_of(Verdict.STALE)

    @property
    def failed_answers(self) -> int:
        """How many requests sent after the acknowledgement got an error of the gateway."""
        return self._number_of(Verdict.FAILED)

    def _number_of(self, verdict: Verdict) -> int:
        return sum(seen.sent_ms >= 0 and seen.verdict is verdict for seen in self.answers)


@dataclass(frozen=True, slots=True)
class MeasuredChange:
    """A change, how long its write took, and how the probed nodes showed it."""

    number: int
    kind: Kind
    write_ms: float
    observations: tuple[Observation, ...]

    @property
    def window_ms(self) -> float | None:
        """Until the last node was fresh; None if one never was."""
        windows = [observation.window_ms for observation in self.observations]
        known = [window for window in windows if window is not None]
        return max(known, default=None) if len(known) == len(windows) else None


@dataclass(frozen=True, slots=True)
class Counted:
    """What nodes and database counted between two moments; rates are per second.

    ``questions`` are the nodes' questions for a newer version, ``transactions`` those that
    PostgreSQL committed in the database, ``requests`` those that the proxies read: each divided by
    the number of nodes. None where nobody could be asked.
    """

    duration_s: float
    questions: float | None = None
    transactions: float | None = None
    requests: float | None = None


@dataclass(frozen=True, slots=True)
class StrategyResult:
    """Everything measured under one strategy.

    ``own_windows`` is the growth of the nodes' own propagation histogram: the number of applies by
    upper bound in ms, cumulative.
    """

    label: str
    poll_interval_s: float | None
    nodes: tuple[str, ...]
    probe_gap_ms: float
    lanes: int
    duration_s: float
    changes: tuple[MeasuredChange, ...]
    idle: Counted
    busy: Counted
    own_windows: Mapping[float, int] = field(default_factory=dict)

    def observations(self) -> Iterator[Observation]:
        """Yield what each node showed of each change."""
        for change in self.changes:
            yield from change.observations


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run: on what, when, and the strategies in their order."""

    started_at: str
    machine: Mapping[str, str | int]
    under_load: bool
    routes: int
    seed: int
    strategies: tuple[StrategyResult, ...]

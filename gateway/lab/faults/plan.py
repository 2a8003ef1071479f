"""Which faults happen when: drawn from a seed before the run begins. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.lab.cluster import LabError


class FaultKind(StrEnum):
    """What can be done to a cluster."""

    KILL = "kill"
    PAUSE = "pause"
    CUT = "cut"
    STALL = "stall"
    RESET = "reset"
    DROP_NOTIFY = "drop-notify"
    RESTART_POSTGRES = "restart-postgres"
    KILL_CONTROL_PLANE = "kill-control-plane"


POSTGRES = "postgres"
"""The victim of a fault that is nobody's but the database's."""

_LASTS_S: Mapping[FaultKind, tuple[float, float]] = {
    FaultKind.KILL: (0.0, 6.0),
    # Beyond the five seconds after which the cluster stops counting a node, now and then.
    FaultKind.PAUSE: (0.3, 8.0),
    FaultKind.CUT: (0.3, 8.0),
    FaultKind.STALL: (0.3, 8.0),
    FaultKind.RESET: (0.0, 0.0),
    FaultKind.DROP_NOTIFY: (1.0, 8.0),
    FaultKind.RESTART_POSTGRES: (0.0, 7.0),
    FaultKind.KILL_CONTROL_PLANE: (0.0, 6.0),
}
_PEACE_S: Mapping[FaultKind, tuple[float, float]] = {FaultKind.RESTART_POSTGRES: (10.0, 40.0)}
_PEACE_ELSE_S = (1.0, 8.0)


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault that begins so long after the start of the run and lasts so long."""

    at_s: float
    kind: FaultKind
    victim: str
    lasts_s: float

    @property
    def ends_s(self) -> float:
        """When it is over."""
        return self.at_s + self.lasts_s


def plan(
    seed: int, duration_s: float, victims: Mapping[FaultKind, Sequence[str]]
) -> dict[str, list[PlannedFault]]:
    """Return the faults of each victim, one after another; those of different ones overlap.

    All are over when the duration is.
    """
    kinds: dict[str, list[FaultKind]] = {}
    for kind, names in victims.items():
        for name in names:
            kinds.setdefault(name, []).append(kind)
    return {
        # By name, so that one victim more does not change what happens to the others.
        name: list(_faults(random.Random(f"{seed} {name}"), duration_s, name, of_victim))  # noqa: S311 - a schedule is no secret
        for name, of_victim in kinds.items()
    }


def _faults(
    dice: random.Random, duration_s: float, victim: str, kinds: Sequence[FaultKind]
) -> Iterator[PlannedFault]:
    at_s = 0.0
    while True:
        kind = dice.choice(kinds)
        at_s += dice.uniform(*_PEACE_S.get(kind, _PEACE_ELSE_S))
        fault = PlannedFault(round(at_s, 3), kind, victim, round(dice.uniform(*_LASTS_S[kind]), 3))
        if fault.ends_s >= duration_s:
            return
        yield fault
        at_s = fault.ends_s


def parse_faults(text: str) -> list[FaultKind]:
    """Return the kinds in a comma-separated list; none for an empty one. Raises LabError."""
    return [_kind(name) for name in filter(None, map(str.strip, text.split(",")))]


def names(kinds: Iterable[FaultKind]) -> str:
    """Return the list that `parse_faults` reads."""
    return ",".join(kinds)


def _kind(name: str) -> FaultKind:
    try:
        return FaultKind(name)
    except ValueError:
        raise LabError(f"--faults: there is no fault '{name}', only {names(FaultKind)}") from None

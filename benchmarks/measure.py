"""How it is measured: interleaved rounds of every contender, medians over the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

from benchmarks.load import PLAIN, Figures, Load
from benchmarks.processes import Pinned

WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often is measured."""

    round_s: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A server under load: where it listens and what happens beside the load."""

    name: str
    server: Pinned
    port: int
    load: Load = PLAIN
    disturbance: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True, slots=True)
class Result:
    """The medians of one contender in one scenario.

    `ratio` compares its requests/s with the last contender's, round by round.
    """

    contender: str
    requests_per_s: float
    ratio: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_request: float
    rss_mb: float
    errors: int


def measure(contenders: Sequence[Contender], load_core: int, effort: Effort) -> list[Result]:
    """Load each contender in turn, round after round, so that drift meets all alike."""
    for contender in contenders:
        _run_round(contender, load_core, WARM_UP_S)
    rounds = [
        [_run_round(contender, load_core, effort.round_s) for contender in contenders]
        for _ in range(effort.rounds)
    ]
    own = list(zip(*rounds, strict=True))
    return [_result(contender, own[i], own[-1]) for i, contender in enumerate(contenders)]


@dataclass(frozen=True, slots=True)
class _Round:
    figures: Figures
    cpu_s: float


def _run_round(contender: Contender, load_core: int, duration_s: float) -> _Round:
    with contender.disturbance():
        before = contender.server.cpu_s()
        figures = contender.load.run(load_core, contender.port, duration_s)
        if not figures.requests:
            raise RuntimeError(f"{contender.name} answers nothing to {contender.load}")
        return _Round(figures, contender.server.cpu_s() - before)


def _result(contender: Contender, rounds: Sequence[_Round], baseline: Sequence[_Round]) -> Result:
    figures = [r.figures for r in rounds]
    pairs = zip(figures, (r.figures for r in baseline), strict=True)
    return Result(
        contender=contender.name,
        requests_per_s=median(f.requests_per_s for f in figures),
        ratio=median(f.requests_per_s / other.requests_per_s for f, other in pairs),
        p50_ms=median(f.p50_ms for f in figures),
        p99_ms=median(f.p99_ms for f in figures),
        cpu_us_per_request=median(1e6 * r.cpu_s / r.figures.requests for r in rounds),
        rss_mb=contender.server.rss_bytes() / 1e6,
        errors=sum(f.errors for f in figures),
    )

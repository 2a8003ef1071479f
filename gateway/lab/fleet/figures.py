"""What the fleet's measurements come to: pure, from samples to figures."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.lab.fleet.messages import NodeReport
from gateway.lab.fleet.plan import Cell
from gateway.lab.percentiles import percentile

SATURATED_CORES = 0.9
"""A process with one event loop that takes this much of a core is at its limit."""

SATURATED_MACHINE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution, in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, samples_s: Iterable[float]) -> Spread | None:
        """Return the spread of samples in seconds, None without any."""
        ordered = sorted(samples_s)
        p50_s, p99_s = percentile(ordered, 50), percentile(ordered, 99)
        if p50_s is None or p99_s is None:
            return None
        return cls(len(ordered), 1000 * p50_s, 1000 * p99_s, 1000 * ordered[-1])


@dataclass(frozen=True, slots=True)
class Propagation:
    """Stale windows of every change on every node.

    ``everywhere`` is of each change the one on the slowest node; ``missed`` counts changes that a
    node has not applied, nor anything newer.
    """

    each: Spread | None
    everywhere: Spread | None
    missed: int


def propagation(reports: Sequence[NodeReport], committed_at_s: Mapping[int, float]) -> Propagation:
    """Join what the nodes applied with when the database committed it."""
    windows: dict[int, list[float]] = {version: [] for version in committed_at_s}
    missed = 0
    for report in reports:
        for version, window_s in _windows(report, committed_at_s):
            if window_s is None:
                missed += 1
            else:
                windows[version].append(window_s)
    slowest = [max(found) for found in windows.values() if found]
    return Propagation(
        Spread.of(window for found in windows.values() for window in found),
        Spread.of(slowest),
        missed,
    )


def _windows(
    report: NodeReport, committed_at_s: Mapping[int, float]
) -> Iterable[tuple[int, float | None]]:
    """Yield each version and its stale window on a node, None if it was never applied."""
    applies = report.applies
    versions = [apply.version for apply in applies]
    for version, committed_s in committed_at_s.items():
        first = bisect_left(versions, version)
        yield version, None if first == len(applies) else applies[first].at_s - committed_s


@dataclass(frozen=True, slots=True)
class Load:
    """What the database and the simulators did in a phase; CPU is in cores.

    ``transactions_per_s`` counts commits of the database by its own statistics. Figures of the
    server's processes are None when it is not the lab's own.
    """

    seconds: float
    transactions_per_s: float
    database_cores: float | None
    simulator_cores: list[float]
    control_plane_cores: float
    machine_busy: float
    """Share of all cores."""

    longest_stall_s: float
    """Of a worker's event loop: what was measured meanwhile is too long by as much."""

    @property
    def limited_by(self) -> str:
        """What, other than the database, bounds the figures; empty if nothing does."""
        if any(cores >= SATURATED_CORES for cores in self.simulator_cores):
            return "simulators"
        return "machine" if self.machine_busy >= SATURATED_MACHINE else ""


@dataclass(frozen=True, slots=True)
class Restart:
    """How the fleet came through a restart of PostgreSQL."""

    down_s: float
    all_synced_after_s: float
    """From the moment it takes connections again."""

    all_connected_after_s: float
    """From the same moment until as many connections are there as before."""

    next_change_everywhere_ms: float | None
    """Stale window, on the slowest node, of the first change after that."""

    failures: int
    database_cores: float | None


@dataclass(frozen=True, slots=True)
class CellResult:
    """All figures of one cell; ``problem`` says why it could not be measured to the end."""

    cell: Cell
    problem: str | None = None
    started_within_s: float | None = None
    connections: int | None = None
    database_memory_mb: float | None = None
    """Proportional set size of all its processes: shared memory counts once."""

    idle: Load | None = None
    changing: Load | None = None
    propagation: Propagation | None = None
    own_propagation: Spread | None = None
    """What the nodes' own metric says."""

    write: Spread | None = None
    failures: int = 0
    """Syncs that failed."""

    full_loads: int = 0
    """Besides the first one of each node."""

    strategy_restarts: int = 0
    last_error: str | None = None
    restart: Restart | None = None

    @property
    def idle_cost_ms(self) -> float | None:
        """CPU time of the database that a node takes per second while nothing changes."""
        if self.idle is None or self.idle.database_cores is None:
            return None
        return 1000 * self.idle.database_cores / self.cell.nodes

    @property
    def change_cost_ms(self) -> float | None:
        """CPU time of the database that a change takes per node, on top of that."""
        idle, changing = self.idle, self.changing
        if not (idle and changing and self.write):
            return None
        if idle.database_cores is None or changing.database_cores is None:
            return None
        # Where a change costs nearly nothing, the difference may be less than that by chance.
        extra_s = max(0.0, changing.database_cores - idle.database_cores) * changing.seconds
        return 1000 * extra_s / (self.write.count * self.cell.nodes)

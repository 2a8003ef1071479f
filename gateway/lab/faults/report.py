"""What is told of a run: a table of what happened and held, and each violation with its events."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from gateway.lab.faults.checker import Guarantee, Verdict, Violation
from gateway.lab.faults.history import Answered, Event, Fault, Outcome, Probe, Run, to_line

LONGEST_LINE = 400


@dataclass(slots=True)
class Tally:
    """What happened, counted."""

    writes: Counter[Outcome] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)
    barriers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Tally:
        """Count events."""
        tally = cls()
        for event in events:
            match event:
                case Answered():
                    tally.writes[event.outcome] += 1
                    if event.barrier is not None:
                        tally.barriers["held" if event.barrier.held else "timed out"] += 1
                case Probe():
                    tally.probes[_kind_of(event)] += 1
                case Fault(phase="begins"):
                    tally.faults[event.kind] += 1
        return tally


def _kind_of(probe: Probe) -> str:
    if probe.status is None:
        return "unanswered"
    return "telling" if probe.seen else "refused"


def summary(verdict: Verdict, tally: Tally) -> Table:
    """Return the table of a run: what happened, then each guarantee."""
    table = Table(box=box.SIMPLE_HEAD, title=_title(verdict.run), title_justify="left")
    table.add_column("")
    table.add_column("tested", justify="right")
    table.add_column("broken", justify="right")
    for guarantee in Guarantee:
        broken = verdict.broken[guarantee]
        style = "bold red" if broken else ""
        table.add_row(guarantee, f"{verdict.tested[guarantee]:,}", f"{broken:,}", style=style)
    table.add_section()
    for name, counts in (
        ("writes", _counts(tally.writes)),
        ("barriers", _counts(tally.barriers)),
        ("probes", _counts(tally.probes)),
        ("faults", _counts(tally.faults)),
    ):
        table.add_row(f"{name}: {counts}")
    table.add_row(
        f"longest stale window seen from outside: {verdict.longest_stale_s * 1000:.0f} ms"
    )
    return table


def _title(run: Run) -> str:
    nodes = f"{len(run.nodes)} nodes"
    return f"{run.strategy}, {nodes}, {run.minutes:g} minutes, seed {run.seed}"


def _counts(counter: Counter[Outcome] | Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counter.most_common()) or "none"


def complaint(violation: Violation) -> Text:
    """Return the guarantee that was broken, how, and the events that show it."""
    events = [to_line(event).decode().strip() for event in violation.events]
    lines = ["", f"  {_shortened(violation.says)}", *(f"    {_shortened(line)}" for line in events)]
    return Text.assemble((f"broken: {violation.guarantee}", "bold red"), "\n".join(lines))


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def replays(run: Run, history: Path) -> Iterator[str]:
    """Yield the commands that judge the same history again, and that make another of its kind."""
    yield f"gateway lab faults --check {shlex.quote(str(history))}"
    yield (
        f"gateway lab faults --seed {run.seed} --minutes {run.minutes:g} --nodes {len(run.nodes)} "
        f"--strategy {run.strategy} --faults {shlex.quote(','.join(run.faults))}"
    )

"""`make bench`: one gateway node against nginx, HAProxy and Envoy.

Every server under test runs on one core; the load generator, the upstream and the gateway's
database share the other. Everything listens on loopback and ends with this process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain

from benchmarks import memory
from benchmarks.measure import Effort, measure
from benchmarks.report import Figures, Memory, Report, Section, print_section, record, write_json
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.stage import Stage, start_stage

StartStage = Callable[[], AbstractContextManager[Stage]]

TOOLS = {"nginx": "nginx", "wrk": "wrk", "taskset": "util-linux"}
NAMES = [*(scenario.name for scenario in SCENARIOS), memory.NAME]
QUICK = Effort(round_s=2, rounds=1)


def main() -> int:
    """Run the scenarios; return the exit code."""
    arguments = _arguments()
    if complaint := _missing():
        print(complaint, file=sys.stderr)
        return 1
    effort = QUICK if arguments.quick else Effort(arguments.seconds, arguments.rounds)
    server_core, load_core = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, {load_core})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is stopped
    start = partial(start_stage, server_core, load_core)
    sections: list[Section] = []
    for section in chain(
        _measure(_chosen(arguments), start, load_core, effort),
        _measure_memory(arguments, start),
    ):
        print_section(section)
        sections.append(section)
    report = Report(effort, sections)
    print(f"written: {write_json(report)}")
    if arguments.record:
        record(report, keep_others=bool(arguments.only))
    return 0


def _chosen(arguments: argparse.Namespace) -> list[Scenario]:
    if arguments.only:
        return [scenario for scenario in SCENARIOS if scenario.name in arguments.only]
    return [scenario for scenario in SCENARIOS if not (arguments.quick and scenario.takes_long)]


def _measure(
    chosen: Sequence[Scenario], start: StartStage, load_core: int, effort: Effort
) -> Iterator[Section]:
    if not chosen:
        return
    with start() as stage:
        for scenario in chosen:
            results = measure(scenario.contenders(stage), load_core, effort)
            bars = [bar.judge(results) for bar in scenario.bars]
            yield Figures(scenario.name, scenario.title, results, bars)


def _measure_memory(arguments: argparse.Namespace, start: StartStage) -> Iterator[Section]:
    if arguments.only and memory.NAME not in arguments.only:
        return
    counts = [10_000] if arguments.quick else [10_000, 100_000]
    yield Memory(memory.NAME, memory.TITLE, list(memory.measure_memory(start, counts)))


def _missing() -> str:
    """Say what this machine lacks; empty if nothing."""
    packages = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if packages:
        return f"missing: {' '.join(packages)}; on Debian: apt install {' '.join(packages)}"
    if len(os.sched_getaffinity(0)) < 2:
        return "two cores are needed: one for the server under test, one for the load"
    return ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 2 s, to try it out")
    parser.add_argument("--only", type=_names, metavar="NAME[,NAME]", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=float, default=5, help="length of a round (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per contender (default 3)")
    parser.add_argument("--record", action="store_true", help="write docs/performance.md")
    return parser.parse_args()


def _names(given: str) -> list[str]:
    names = given.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())

"""Where cases come from: libFuzzer guided by coverage, or mutations of what behaved in new ways."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom

from fuzz.mutation import mutated
from fuzz.oracles import problems
from fuzz.world import Story, World

CASE_LIMIT_BYTES = 32_768
_REPORT_S = 10.0
_LIBFUZZER_LINE = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+).* corp: (\d+)/.* exec/s: (\d+)")

Report = Callable[[str], None]


@dataclass
class Outcome:
    """How often cases were played, and the file of the finding that ended it, if one did."""

    executions: int = 0
    finding: Path | None = None


def is_guided() -> bool:
    """Tell whether atheris is there."""
    return importlib.util.find_spec("atheris") is not None


def fuzz_guided(corpus: Path, directory: Path, seconds: float, report: Report) -> Outcome:
    """Let libFuzzer run in a process of its own, and tell how it gets on."""
    grown = directory / "corpus"
    grown.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "fuzz.guided", str(grown), str(corpus)),
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={CASE_LIMIT_BYTES}",
        f"-artifact_prefix={directory}/",
        *("-timeout=30", "-rss_limit_mb=2048", "-print_final_stats=1"),
    ]
    outcome = Outcome()
    reported_at = time.monotonic()
    said: deque[str] = deque(maxlen=40)
    with subprocess.Popen(  # noqa: S603 - ourselves
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        for line in process.stderr or ():
            match = _LIBFUZZER_LINE.match(line)
            if match is None:
                said.append(line)
                continue
            executions, edges, cases, per_s = map(int, match.groups())
            outcome.executions = executions
            if time.monotonic() - reported_at >= _REPORT_S:
                reported_at = time.monotonic()
                report(
                    f"{executions:,} executions, {per_s:,}/s, {edges:,} branches covered, "
                    f"{cases:,} cases"
                )
    if process.returncode != 0:
        last_words = "".join(said)
        written = re.search(r"Test unit written to (\S+)", last_words)
        if written is None:
            raise RuntimeError(f"libFuzzer ended with code {process.returncode}:\n{last_words}")
        outcome.finding = Path(written[1])
    return outcome


def fuzz_blindly(corpus: Path, directory: Path, seconds: float, report: Report) -> Outcome:
    """Mutate the corpus, and every case that behaves as none has before."""
    chance = Random(SystemRandom().getrandbits(64))  # noqa: S311 - not for secrets
    cases = [path.read_bytes() for path in sorted(corpus.glob("*"))]
    outcome = Outcome()
    seen: set[tuple[object, ...]] = set()
    world = World()
    began_at = reported_at = time.monotonic()
    for case in _endless(cases, chance):
        story = world.play(case)
        outcome.executions += 1
        if problems(story):
            outcome.finding = _written(case, directory)
            break
        behaviour = _behaviour(story)
        if behaviour not in seen:
            seen.add(behaviour)
            cases.append(case)
        now = time.monotonic()
        if now - reported_at >= _REPORT_S:
            reported_at = now
            per_s = outcome.executions / (now - began_at)
            report(f"{outcome.executions:,} executions, {per_s:,.0f}/s, {len(seen):,} behaviours")
        if now - began_at >= seconds:
            break
    world.close()
    return outcome


def _endless(cases: list[bytes], chance: Random) -> Iterator[bytes]:
    yield from tuple(cases)
    while True:
        yield mutated(chance.choice(cases), cases, chance)[:CASE_LIMIT_BYTES]


def _behaviour(story: Story) -> tuple[object, ...]:
    """Return what is coarse enough to be the same for most mutations of a case."""
    statuses = tuple((record.status, record.from_upstream) for record in story.records)
    return statuses, len(story.upstreams), frozenset(story.failures)


def _written(case: bytes, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"finding-{hashlib.sha256(case).hexdigest()[:16]}"
    path.write_bytes(case)
    return path

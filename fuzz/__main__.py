"""`python -m fuzz --minutes 10`, and `python -m fuzz FILE...` to play cases again.

Exit code 1 when something was found; the file that shows it is named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fuzz.case import shown
from fuzz.engines import fuzz_blindly, fuzz_guided, is_guided
from fuzz.oracles import problems
from fuzz.world import World

CORPUS = Path(__file__).with_name("corpus")


def main(arguments: list[str] | None = None) -> int:
    """Fuzz, or play cases; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz the proxy.")
    parser.add_argument("files", nargs="*", type=Path, help="cases to play again, and nothing else")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument(
        "--blind", action="store_true", help="do without coverage, though atheris is there"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("data/fuzz"),
        help="where findings go, and cases that cover more (default: data/fuzz)",
    )
    asked = parser.parse_args(arguments)
    if asked.files:
        return _play(asked.files)
    guided = is_guided() and not asked.blind
    _report("guided by coverage" if guided else "without coverage: atheris is not asked")
    fuzz = fuzz_guided if guided else fuzz_blindly
    outcome = fuzz(CORPUS, asked.output, asked.minutes * 60, _report)
    _report(f"{outcome.executions:,} executions")
    if outcome.finding is None:
        _report("nothing found")
        return 0
    _play([outcome.finding])
    _report(f"found: {outcome.finding}; play it again with python -m fuzz {outcome.finding}")
    return 1


def _play(files: list[Path]) -> int:
    """Show cases and what is wrong with them."""
    world = World()
    wrong = 0
    for path in files:
        case = path.read_bytes()
        story = world.play(case)
        found = problems(story)
        wrong += bool(found)
        statuses = " ".join(str(record.status) for record in story.records)
        _report(f"{path}\n{shown(case)}\n→ {statuses}")
        _report("\n".join(f"WRONG: {problem}" for problem in found) or "all is well")
    world.close()
    return int(wrong > 0)


def _report(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The rule by which examples on pages are checked.

A block of the kind ``console`` is commands behind ``$``, for a cluster as `make up` starts it.
Of each command:

- behind ``#`` stands the status of the answer. After a colon follows what is somewhere in it, a
  header line or a part of the body; after ``, no`` what is not. Parentheses are for readers;
- lines below it are pieces of what it prints, in this order;
- ``…`` stands for anything within a line;
- if it says nothing of a status, answers are of the kind 2xx. Its exit code is 0 in any case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(
    r"\s+# (?P<status>\d{3})(?:: (?P<has>.*?)|, no (?P<lacks>.*?))?(?:\s*\(.*\))?$"
)
_STATUS_LINE = re.compile(r"^HTTP/\S+ (\d+)", re.MULTILINE)


@dataclass
class Command:
    """What is typed, and what is printed below it."""

    typed: str
    printed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What came of a command: its exit code, what it printed, the heads that curl got."""

    code: int
    output: str
    heads: str


def commands_of(page: Path) -> list[Command]:
    """Return all that is typed in the examples of a page."""
    blocks = _BLOCK.findall(page.read_text())
    return [command for block in blocks for command in commands(block)]


def commands(block: str) -> list[Command]:
    found: list[Command] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif found[-1].typed.endswith("\\"):
            found[-1].typed += f"\n{line}"
        else:
            found[-1].printed.append(line)
    return found


def check(command: Command, outcome: Outcome) -> None:
    """Assert that what came of a command is what its page says."""
    told = f"{command.typed}\n{outcome.heads}\n{outcome.output}"
    statuses = _STATUS_LINE.findall(outcome.heads)
    assert outcome.code == 0, told
    if comment := _COMMENT.search(command.typed):
        assert statuses[-1:] == [comment["status"]], told
        answer = outcome.heads + outcome.output
        assert comment["has"] is None or pattern(comment["has"]).search(answer), told
        assert comment["lacks"] is None or not pattern(comment["lacks"]).search(answer), told
    else:
        assert " # " not in command.typed, f"{command.typed}: no status behind '#'"
        assert all(status.startswith("2") for status in statuses), told
    output = outcome.output
    for line in filter(None, command.printed):
        found = pattern(line).search(output)
        assert found, f"{told}\nhas no (more): {line}"
        output = output[found.end() :]


def pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, text.split("…"))))

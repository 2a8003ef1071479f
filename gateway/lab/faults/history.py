"""What happened in a run, as a list of events: recorded, saved as JSON lines, read back.

The registers that are written are fields of entities, named ``table/entity``; a value is a text, or
None where there is no such entity. Times are seconds since the start of the run, on one monotonic
clock of one process, so that they can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Register = str
Value = str | None
Values = dict[Register, Value]
Phase = Literal["begins", "is over"]


class HistoryError(Exception):
    """A saved history cannot be read; the message is one line that says where it is wrong."""


@dataclass(frozen=True, slots=True)
class Run:
    """How the run was made; its first event.

    ``began_at`` is the time of day at second 0, as the logs have it. ``nodes`` are those that
    serve, ``keys`` what each of them is asked for. They refuse requests once they have not synced
    for ``max_stale_s``, and may take ``heal_bound_s`` to catch up after the last fault.
    """

    began_at: str
    seed: int
    minutes: float
    strategy: str
    faults: list[str]
    nodes: list[str]
    keys: list[str]
    max_stale_s: float
    heal_bound_s: float
    event: Literal["run"] = "run"


@dataclass(frozen=True, slots=True)
class Invoked:
    """A write has been sent: through a node, or through nobody by hand-made SQL."""

    at: float
    write: int
    through: str
    values: Values
    event: Literal["invoked"] = "invoked"


class Outcome(StrEnum):
    """What became of a write as far as its writer knows."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Barrier:
    """What a write that waited for the cluster was told: who has it, of how many that count."""

    applied: int
    counted: int
    behind: list[str]
    unseen: list[str]

    @property
    def held(self) -> bool:
        """Whether all that count had the version."""
        return self.applied == self.counted


@dataclass(frozen=True, slots=True)
class Answered:
    """A write was answered, or will never be; ``version`` is the one it made."""

    at: float
    write: int
    outcome: Outcome
    version: int | None = None
    barrier: Barrier | None = None
    said: str = ""
    event: Literal["answered"] = "answered"


@dataclass(frozen=True, slots=True)
class Probe:
    """A request through a node, and which registers its answer showed with which values.

    ``status`` is None if there was no answer. ``seen`` is empty where an answer shows nothing, as
    a refusal does. ``incarnation`` counts the starts of the node's process.
    """

    sent_at: float
    at: float
    node: str
    incarnation: int
    key: str
    status: int | None
    seen: Values
    min_version: int | None = None
    event: Literal["probe"] = "probe"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault began or was over."""

    at: float
    kind: str
    on: str
    phase: Phase
    event: Literal["fault"] = "fault"


@dataclass(frozen=True, slots=True)
class Healed:
    """The last fault is over and the last write answered."""

    at: float
    event: Literal["healed"] = "healed"


@dataclass(frozen=True, slots=True)
class Commit:
    """What the database says a version gave a register; in the order of versions."""

    version: int
    register: Register
    value: Value
    event: Literal["commit"] = "commit"


@dataclass(frozen=True, slots=True)
class Tables:
    """What is in the database in the end."""

    values: Values
    event: Literal["tables"] = "tables"


Event = Annotated[
    Run | Invoked | Answered | Probe | Fault | Healed | Commit | Tables,
    Field(discriminator="event"),
]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class Recorder:
    """Writes events to a file as they happen."""

    def __init__(self, path: Path) -> None:
        self._began = time.monotonic()
        self._file = path.open("wb")

    def now(self) -> float:
        """Return the seconds since the start, to the microsecond."""
        return round(time.monotonic() - self._began, 6)

    def record(self, event: Event) -> None:
        """Add an event."""
        self._file.write(to_line(event))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def to_line(event: Event) -> bytes:
    """Return an event as a line of JSON."""
    return _EVENT.dump_json(event) + b"\n"


def read(path: Path) -> Iterator[Event]:
    """Yield the events of a saved history. Raises HistoryError."""
    try:
        with path.open("rb") as lines:
            yield from parse(lines)
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror}") from None


def parse(lines: Iterable[bytes]) -> Iterator[Event]:
    """Yield the event of each line. Raises HistoryError, naming the line."""
    for number, line in enumerate(lines, start=1):
        try:
            yield _EVENT.validate_json(line)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise HistoryError(f"line {number} is no event of a history: {reason}") from None

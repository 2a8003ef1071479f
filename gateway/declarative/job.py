"""What a node and the process that it starts for a configuration say to each other.

The node writes a line of JSON, the job, then the body of the request as it came. The process
answers with lines of JSON, one for each step and one for the outcome, then a document. So the node
neither parses nor renders anything large.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import SecretStr

from gateway.declarative.text import Format
from gateway.settings import NodeSettings
from gateway.store.actor import Actor

Task = Literal["write", "compare", "export"]


class Outcome(StrEnum):
    """How a job ended; the document that follows says more."""

    DONE = "done"
    INVALID = "invalid"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done; ``needed`` are the settings that it takes."""

    task: Task
    needed: Mapping[str, Any]
    actor: Actor
    deadline_s: float
    select_tags: tuple[str, ...] = ()
    content_type: str = ""
    flatten_errors: bool = False
    form: Format = "yaml"

    def line(self) -> bytes:
        """Return the job as the first line that the process reads."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Return the job that a line says."""
        said = json.loads(line)
        said["actor"] = Actor(**said["actor"])
        said["select_tags"] = tuple(said["select_tags"])
        return cls(**said)

    def settings(self) -> NodeSettings:
        """Return the settings of the process."""
        return NodeSettings(**self.needed)


@dataclass(frozen=True, slots=True)
class Progress:
    """The step that a job is at; ``total`` is 0 where there is nothing to count."""

    step: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """The last line, followed by ``size`` bytes of a document."""

    outcome: Outcome
    size: int
    version: int | None = None


def line_of(said: Progress | Ending) -> bytes:
    """Return what the process says as a line."""
    return json.dumps(asdict(said)).encode() + b"\n"


def said_in(line: bytes) -> Progress | Ending:
    """Return what a line says. Raises ValueError, TypeError."""
    said = json.loads(line)
    if "step" in said:
        return Progress(**said)
    return Ending(**said | {"outcome": Outcome(said["outcome"])})


def needed_settings(settings: NodeSettings) -> dict[str, Any]:
    """Return those settings that say how to use the database, and where plugins are, as JSON."""
    others = ("node_name", "plugin_path")
    names = (n for n in NodeSettings.model_fields if n.startswith("database_") or n in others)
    values = {name: getattr(settings, name) for name in names}
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
    }

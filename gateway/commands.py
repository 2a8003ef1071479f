"""Carries out the commands that come with versions: on each node, each of them once.

Whoever can do something says so with `Commands.handle`. What a command is, and how it gets here,
is told in `gateway/entities/command.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be done, and with what; ``version`` is the one that brought it."""

    id: UUID
    name: str
    subject: UUID | None
    arguments: Mapping[str, Any]
    version: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Command:
        """Return the command that a row of ``commands`` is. Raises TypeError."""
        arguments = row["arguments"]
        if not isinstance(arguments, dict):
            raise TypeError("its arguments have no names")
        return cls(row["id"], row["name"], row["subject"], arguments, row["version"])


Handler = Callable[[Command], None]
"""Carries a command out, in no time; arguments of a wrong kind are its business."""


class Commands:
    """Who carries out what on this node, and what has been carried out."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._done: set[UUID] = set()

    def handle(self, name: str, handler: Handler) -> None:
        """Let ``handler`` carry out the commands of a name."""
        self._handlers[name] = handler

    def carry_out(self, command: Command) -> None:
        """Carry out a command, unless that was done before."""
        if command.id not in self._done:
            self._done.add(command.id)
            self._carry_out(command)

    def forget(self, ids: Iterable[UUID]) -> None:
        """Hear that these commands are no more."""
        self._done.difference_update(ids)

    def forget_all_but(self, ids: Collection[UUID]) -> None:
        """Hear that there are no other commands than these."""
        self._done.intersection_update(ids)

    def _carry_out(self, command: Command) -> None:
        handler = self._handlers.get(command.name)
        if handler is None:
            _log.info("nobody here carries out a command", command=command.name)
            return
        try:
            handler(command)
        except Exception:  # noqa: BLE001 - a plugin's, maybe
            _log.exception("a command failed", command=command.name, version=command.version)

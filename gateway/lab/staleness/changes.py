"""What is changed, and how a change shows in an answer: pure.

A lane's route comes, its service changes, the route goes, again and again. The upstream answers
with the path it was asked for, and the service's path carries a generation: so each answer tells
by which configuration it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

TAG = "gateway-lab"
"""Every entity of the lab carries it, so that a stray one can be found."""


class Kind(StrEnum):
    """What a change does."""

    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"


class Verdict(StrEnum):
    """What an answer shows."""

    FRESH = "fresh"
    STALE = "stale"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Write:
    """One request to the Admin API."""

    method: str
    path: str
    document: Any = None


@dataclass(frozen=True, slots=True)
class Change:
    """One write and what it makes visible: ``shown`` in the answers, None for no route."""

    kind: Kind
    write: Write
    shown: bytes | None
    mark: bytes
    """What every answer of the lane's service contains, whatever its generation."""

    def judge(self, status: int, body: bytes) -> Verdict:
        """Tell which configuration an answer shows; an error of the gateway shows none."""
        if status >= 500:
            return Verdict.FAILED
        if self.shown is None:
            return Verdict.STALE if self.mark in body else Verdict.FRESH
        return Verdict.FRESH if self.shown in body else Verdict.STALE


class Lane:
    """A service and a route of the lab's own.

    ``run`` tells this run from others on the same cluster, ``upstream_url`` is where the cluster
    reaches the upstream.
    """

    def __init__(self, run: str, number: int | str, upstream_url: str) -> None:
        self.name = f"lab-{run}-{number}"
        self.probe_path = f"/{self.name}/probe"
        self._mark = f"{self.name}-v"
        self._upstream_url = upstream_url.rstrip("/")
        self._generation = 0

    def changes(self) -> Iterator[Change]:
        """Yield changes without end; each takes the one before for granted."""
        while True:
            yield self._change(Kind.ADD, self._put_route(), self._version())
            self._generation += 1
            yield self._change(Kind.CHANGE, self.put_service(), self._version())
            yield self._change(Kind.DELETE, Write("DELETE", self._route), None)

    def put_service(self) -> Write:
        """Return the write that gives the service its generation, creating it at first."""
        url = urlsplit(f"{self._upstream_url}/{self._version()}")
        port = url.port or (443 if url.scheme == "https" else 80)
        document = {"protocol": url.scheme, "host": url.hostname, "port": port, "path": url.path}
        return Write("PUT", self._service, {**document, "tags": [TAG]})

    def removal(self) -> list[Write]:
        """Return the writes that leave nothing of the lane."""
        return [Write("DELETE", self._route), Write("DELETE", self._service)]

    @property
    def _route(self) -> str:
        return f"/routes/{self.name}"

    @property
    def _service(self) -> str:
        return f"/services/{self.name}"

    def _put_route(self) -> Write:
        service = {"name": self.name}
        document = {"paths": [f"/{self.name}"], "service": service, "tags": [TAG]}
        return Write("PUT", self._route, document)

    def _version(self) -> str:
        # Of a fixed length, so that no generation is found within another.
        return f"{self._mark}{self._generation:06}"

    def _change(self, kind: Kind, write: Write, shown: str | None) -> Change:
        return Change(kind, write, shown.encode() if shown else None, self._mark.encode())

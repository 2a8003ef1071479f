"""What the router works with: a route's match attributes, and what they are compiled to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from gateway.routing.conditions import Conditions
from gateway.routing.patterns import Captures, PathMatch, PathRegex


@dataclass(frozen=True, slots=True, eq=False)
class RouteRule:
    """What the router needs of a route; ``payload`` is handed back untouched.

    ``created_at`` is in seconds since the epoch; header names may be in any case.
    """

    id: UUID
    created_at: float
    protocols: frozenset[str]
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    methods: frozenset[str]
    headers: Mapping[str, tuple[str, ...]]
    snis: frozenset[str]
    regex_priority: int
    payload: Any


@dataclass(slots=True, eq=False)
class Candidate:
    """A route that takes a request if the request meets ``conditions`` (None: there are none).

    ``matched`` is the start of the path that the route's path matched, None if it has no paths.
    """

    payload: Any
    matched: bytes | None
    conditions: Conditions | None
    path_match: PathMatch | None

    @property
    def captures(self) -> Captures | None:
        """What the groups of the route's path regex matched; worked out at each call."""
        return None if self.path_match is None else self.path_match.captures()


@dataclass(slots=True, eq=False)
class Entry(Candidate):
    """One place of a rule in the order of all; a smaller ``rank`` goes first.

    ``text`` is what a path must start with, ``tls`` the scheme it is for (None: either),
    ``methods`` None takes any method. An entry is its own candidate, but with a ``regex``: what
    that matches is the request's. A ``simple`` one takes every request of its host and path; among
    those of one host, the longest text goes first.
    """

    rank: bytes
    text: bytes
    tls: bool | None
    methods: frozenset[bytes] | None
    regex: PathRegex | None
    simple: bool

    def with_match(self, path_match: PathMatch) -> Candidate:
        """Return the candidate for one request whose path the regex matched."""
        return Candidate(self.payload, path_match.text, self.conditions, path_match)


@dataclass(slots=True, eq=False)
class CompiledRule:
    """A rule's entries under each of its hosts, or under ANY_HOST.

    There are none when the rule has no protocol of the HTTP family.
    """

    id: UUID
    placements: tuple[tuple[bytes, tuple[Entry, ...]], ...]

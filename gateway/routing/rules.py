"""A route's match attributes, compiled to entries that sort by priority.

Source: ``router.md`` sections 2 and 3, flavor ``traditional``. A route is one entry per path. Where
its priority or its conditions depend on more than the path, it is one entry per case:

- Under TLS ``snis`` is an attribute to be met. On plain HTTP, where it is always true, it does not
  count as one: a route that asks for less (no ``snis``) is tried first.
- Of two hosts that both match a Host with a port, the one that names the port wins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from gateway.routing.conditions import Conditions, header_conditions
from gateway.routing.hosts import ANY_HOST, check_host, is_port_specific, is_wildcard, split_port
from gateway.routing.patterns import Captures, PathMatch, PathRegex

HTTP_FAMILY = frozenset({"http", "https", "grpc", "grpcs"})

# The category bits of router.md section 3, criterion 2.
_HOSTS, _HEADERS, _PATHS, _METHODS, _SNIS = 64, 32, 16, 8, 4

_RANK = struct.Struct(">BB?B??HQLQ16sH")
_MAX_U16, _MAX_U32, _MAX_I64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 63) - 1


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

    rule: RouteRule
    payload: Any
    matched: bytes | None
    conditions: Conditions | None
    path_match: PathMatch | None = None

    @property
    def captures(self) -> Captures | None:
        """What the groups of the route's path regex matched; worked out at each call."""
        return None if self.path_match is None else self.path_match.captures()

    def with_match(self, path_match: PathMatch) -> Candidate:
        """Return the candidate for one request whose path the route's regex matched."""
        return Candidate(self.rule, self.payload, path_match.text, self.conditions, path_match)


@dataclass(slots=True, eq=False)
class Entry:
    """One place of a rule in the order of all; a smaller ``rank`` goes first.

    ``text`` is what a path must start with, ``tls`` the scheme it is for (None: either),
    ``methods`` None takes any method. With a ``regex`` the match is the request's, else the
    ``candidate`` is ready as it is.
    """

    rank: bytes
    text: bytes
    tls: bool | None
    methods: frozenset[bytes] | None
    regex: PathRegex | None
    candidate: Candidate


@dataclass(slots=True, eq=False)
class CompiledRule:
    """A rule with its entries under each of its hosts, or under ANY_HOST.

    There are none when the rule has no protocol of the HTTP family.
    """

    rule: RouteRule
    placements: tuple[tuple[bytes, tuple[Entry, ...]], ...]


def compile_rule(rule: RouteRule) -> CompiledRule:
    """Compile a rule. Raises ValueError naming the path, host or header that cannot be served."""
    if not rule.protocols & HTTP_FAMILY:
        return CompiledRule(rule, ())
    if not (rule.hosts or rule.headers or rule.paths or rule.methods or rule.snis):
        raise ValueError("route has none of hosts, headers, paths, methods, snis to match on")
    hosts = [host.encode() for host in dict.fromkeys(rule.hosts)] or [ANY_HOST]
    for host in hosts:
        check_host(host)
    compiler = _Compiler(rule, hosts)
    entries = {
        port_specific: tuple(compiler.entries(port_specific=port_specific))
        for port_specific in set(map(is_port_specific, hosts))
    }
    return CompiledRule(rule, tuple((host, entries[is_port_specific(host)]) for host in hosts))


class _Compiler:
    """Compiles one rule; what its entries have in common is computed once."""

    def __init__(self, rule: RouteRule, hosts: Sequence[bytes]) -> None:
        self._rule = rule
        self._host_weight = _host_weight(hosts)
        self._methods = _encoded(rule.methods) if rule.methods else None
        self._paths = tuple(_compile_path(path) for path in dict.fromkeys(rule.paths))
        headers = header_conditions(rule.headers)
        self._headers_only = Conditions(headers, None) if headers else None
        if rule.snis:
            snis = frozenset(sni.removesuffix(".").encode() for sni in rule.snis)
            self._headers_and_snis = Conditions(headers, snis)

    def entries(self, *, port_specific: bool) -> Iterator[Entry]:
        for position, path in enumerate(self._paths or (None,)):
            if self._rule.snis:
                yield self._entry(position, path, port_specific, tls=True)
                yield self._entry(position, path, port_specific, tls=False)
            else:
                yield self._entry(position, path, port_specific, tls=None)

    def _entry(
        self, position: int, path: bytes | PathRegex | None, port_specific: bool, tls: bool | None
    ) -> Entry:
        regex = path if isinstance(path, PathRegex) else None
        plain = path if isinstance(path, bytes) else None
        conditions = self._headers_and_snis if tls else self._headers_only
        return Entry(
            rank=self._rank(position, regex, plain, port_specific, tls),
            text=regex.literal_prefix if regex else plain or b"",
            tls=tls,
            methods=self._methods,
            regex=regex,
            candidate=Candidate(self._rule, self._rule.payload, plain, conditions),
        )

    def _rank(
        self,
        position: int,
        regex: PathRegex | None,
        plain: bytes | None,
        port_specific: bool,
        tls: bool | None,
    ) -> bytes:
        """Return bytes that sort as the criteria of router.md section 3 do."""
        rule = self._rule
        category = (
            _HOSTS * bool(rule.hosts)
            + _HEADERS * bool(rule.headers)
            + _PATHS * bool(rule.paths)
            + _METHODS * bool(rule.methods)
            + _SNIS * bool(tls)
        )
        return _RANK.pack(
            255 - category.bit_count(),
            255 - category,
            tls is False,
            255 - self._host_weight,
            not port_specific,
            regex is None,
            _MAX_U16 - min(len(rule.headers), _MAX_U16),
            _MAX_I64 - (rule.regex_priority if regex else 0),
            _MAX_U32 - len(plain or b""),
            _MAX_I64 + int(rule.created_at * 1_000_000),
            rule.id.bytes,
            min(position, _MAX_U16),
        )


def _compile_path(path: str) -> bytes | PathRegex:
    if path.startswith("/"):
        return path.encode()
    if not path.startswith("~"):
        raise ValueError(f"path '{path}' starts neither with '/' nor with '~'")
    try:
        return PathRegex(path[1:])
    except ValueError as error:
        raise ValueError(f"regex of path '{path}' does not compile: {error}") from error


def _host_weight(hosts: Sequence[bytes]) -> int:
    """Return the part of the sub-weight (criterion 3) that hosts decide."""
    wildcards = [host for host in hosts if is_wildcard(host)]
    if not wildcards:
        return 2
    return 4 if any(split_port(host)[1] is not None for host in wildcards) else 0


@lru_cache(maxsize=1024)
def _encoded(words: frozenset[str]) -> frozenset[bytes]:
    """Encode a set of methods; routes with the same methods share one set."""
    return frozenset(word.encode() for word in words)

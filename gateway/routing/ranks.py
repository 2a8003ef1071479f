"""The order of the entries: bytes that sort as the priority of the router's flavor does.

Source: ``router.md`` section 3. A route has one rank per path, and one per case where more than the
path decides; ``position`` is the path's among the route's. Both flavors take the same facts.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.routing.hosts import is_wildcard, split_port
from gateway.routing.patterns import PathRegex
from gateway.routing.rules import RouteRule

# The category bits of router.md section 3, criterion 2.
_HOSTS, _HEADERS, _PATHS, _METHODS, _SNIS = 64, 32, 16, 8, 4

_TRADITIONAL = struct.Struct(">BB?B??HQLQ16sH")
_COMPATIBLE = struct.Struct(">Q16sH")
_MAX_U16, _MAX_U32, _MAX_I64, _MAX_U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1
_MAX_ID = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a route: one of its paths, under hosts of one kind, on one scheme.

    ``tls`` is None where the scheme makes no difference.
    """

    position: int
    path: bytes | PathRegex | None
    port_specific: bool
    tls: bool | None

    @property
    def regex(self) -> PathRegex | None:
        """The path, if it is a regex."""
        return self.path if isinstance(self.path, PathRegex) else None

    @property
    def plain(self) -> bytes | None:
        """The path, if it is a plain one."""
        return self.path if isinstance(self.path, bytes) else None


class Order(Protocol):
    """A flavor's order, ready for the cases of one rule."""

    def rank(self, case: Case) -> bytes:
        """Return the rank of a case."""
        ...


class TraditionalOrder:
    """The criteria of flavor ``traditional``, one after the other.

    Under TLS ``snis`` is an attribute to be met. On plain HTTP, where it is always true, it does
    not count as one: a route that asks for less (no ``snis``) is tried first. Of two hosts that
    both match a Host with a port, the one that names the port wins.
    """

    def __init__(self, rule: RouteRule) -> None:
        self._rule = rule
        self._host_weight = _host_weight(rule.hosts)
        self._category = (
            _HOSTS * bool(rule.hosts)
            + _HEADERS * bool(rule.headers)
            + _PATHS * bool(rule.paths)
            + _METHODS * bool(rule.methods)
        )

    def rank(self, case: Case) -> bytes:
        """Return the rank of a case."""
        rule = self._rule
        category = self._category + _SNIS * bool(case.tls)
        return _TRADITIONAL.pack(
            255 - category.bit_count(),
            255 - category,
            case.tls is False,
            255 - self._host_weight,
            not case.port_specific,
            case.regex is None,
            _MAX_U16 - min(len(rule.headers), _MAX_U16),
            _MAX_I64 - (rule.regex_priority if case.regex else 0),
            _MAX_U32 - len(case.plain or b""),
            _MAX_I64 + int(rule.created_at * 1_000_000),
            rule.id.bytes,
            min(case.position, _MAX_U16),
        )


class CompatibleOrder:
    """The one number of flavor ``traditional_compatible``; of equal ones the larger id wins."""

    def __init__(self, rule: RouteRule) -> None:
        self._rule = rule
        attributes = (rule.hosts, rule.headers, rule.paths, rule.methods, rule.snis)
        all_plain = bool(rule.hosts) and not any("*" in host for host in rule.hosts)
        self._weight = (
            sum(map(bool, attributes)) << 61 | all_plain << 60 | min(len(rule.headers), 255) << 52
        )
        self._id = (_MAX_ID - rule.id.int).to_bytes(16, "big")

    def rank(self, case: Case) -> bytes:
        """Return the rank of a case."""
        weight = self._weight
        if case.regex is not None:
            weight |= 1 << 51 | min(max(self._rule.regex_priority, 0), _MAX_U32) << 19
        else:
            weight |= min(len(case.plain or b""), (1 << 19) - 1)
        return _COMPATIBLE.pack(_MAX_U64 - weight, self._id, min(case.position, _MAX_U16))


def _host_weight(hosts: Sequence[str]) -> int:
    """Return the part of the sub-weight (criterion 3) that hosts decide."""
    wildcards = [host for host in map(str.encode, hosts) if is_wildcard(host)]
    if not wildcards:
        return 2
    return 4 if any(split_port(host)[1] is not None for host in wildcards) else 0

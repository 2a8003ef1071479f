"""Compiles a route's match attributes to entries that sort by priority.

Source: ``router.md`` sections 2 and 3. A route is one entry per path. Where its priority or its
conditions depend on more than the path, it is one entry per case: with ``snis`` one for TLS and
one for plain HTTP, with a host that names a port one for that host.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from gateway.routing.conditions import Conditions, ServerNames, header_conditions
from gateway.routing.hosts import ANY_HOST, check_host, is_port_specific, texts_of_wildcard
from gateway.routing.patterns import PathRegex
from gateway.routing.ranks import Case, CompatibleOrder, Order, TraditionalOrder
from gateway.routing.rules import CompiledRule, Entry, RouteRule

HTTP_FAMILY = frozenset({"http", "https", "grpc", "grpcs"})


def compile_rule(rule: RouteRule, *, compatible: bool) -> CompiledRule:
    """Compile a rule, for flavor ``traditional_compatible`` if asked to, else for ``traditional``.

    Raises ValueError naming the path, host, header or server name that cannot be served.
    """
    if not rule.protocols & HTTP_FAMILY:
        return CompiledRule(rule.id, ())
    if not (rule.hosts or rule.headers or rule.paths or rule.methods or rule.snis):
        raise ValueError("route has none of hosts, headers, paths, methods, snis to match on")
    hosts = _hosts(rule, compatible=compatible)
    compiler = _Compiler(rule, compatible=compatible)
    entries = {
        port_specific: tuple(compiler.entries(port_specific=port_specific))
        for port_specific in set(map(is_port_specific, hosts))
    }
    return CompiledRule(rule.id, tuple((host, entries[is_port_specific(host)]) for host in hosts))


def _hosts(rule: RouteRule, *, compatible: bool) -> list[bytes]:
    """Return the texts that a rule is filed under."""
    hosts = [host.encode() for host in dict.fromkeys(rule.hosts)] or [ANY_HOST]
    for host in hosts:
        check_host(host)
    if compatible:
        hosts = list(dict.fromkeys(text for host in hosts for text in texts_of_wildcard(host)))
    return hosts


class _Compiler:
    """Compiles one rule; what its entries have in common is computed once."""

    def __init__(self, rule: RouteRule, *, compatible: bool) -> None:
        self._payload = rule.payload
        self._order: Order = CompatibleOrder(rule) if compatible else TraditionalOrder(rule)
        self._methods = _encoded(rule.methods) if rule.methods else None
        self._paths = tuple(_compile_path(path) for path in dict.fromkeys(rule.paths))
        self._looks_at_path_only = not (rule.methods or rule.headers or rule.snis) and not any(
            "*" in host for host in rule.hosts
        )
        headers = header_conditions(rule.headers, compatible=compatible)
        self._headers_only = Conditions(headers, None) if headers else None
        self._schemes: tuple[bool | None, ...] = (None,)
        if rule.snis:
            self._schemes = (True, False)
            snis = ServerNames.of(rule.snis, wildcards=compatible)
            self._headers_and_snis = Conditions(headers, snis)

    def entries(self, *, port_specific: bool) -> Iterator[Entry]:
        for position, path in enumerate(self._paths or (None,)):
            for tls in self._schemes:
                yield self._entry(Case(position, path, port_specific, tls))

    def _entry(self, case: Case) -> Entry:
        regex, plain = case.regex, case.plain
        return Entry(
            payload=self._payload,
            matched=plain,
            conditions=self._headers_and_snis if case.tls else self._headers_only,
            path_match=None,
            rank=self._order.rank(case),
            text=regex.literal_prefix if regex else plain or b"",
            tls=case.tls,
            methods=self._methods,
            regex=regex,
            simple=self._looks_at_path_only and plain is not None and not case.port_specific,
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


@lru_cache(maxsize=1024)
def _encoded(words: frozenset[str]) -> frozenset[bytes]:
    """Encode a set of methods; routes with the same methods share one set."""
    return frozenset(word.encode() for word in words)

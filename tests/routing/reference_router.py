"""A brute-force reading of the router's reference: sort all entries, take the first full match.

Written for being read beside ``router.md`` sections 2 and 3; shares no code with the router.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.routing import RouteRule


@dataclass(frozen=True)
class Request:
    tls: bool
    method: bytes
    host: bytes
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    sni: bytes | None


def first_match(rules: Iterable[RouteRule], request: Request) -> tuple[str, bytes | None] | None:
    """Return the name of the route that takes the request and the text its path matched."""
    for rule, position in sorted(_entries(rules), key=lambda entry: _priority(*entry, request)):
        if _matches(rule, position, request):
            return rule.payload, _matched_text(rule, position, request)
    return None


def _entries(rules: Iterable[RouteRule]) -> Iterator[tuple[RouteRule, int]]:
    for rule in rules:
        if rule.protocols & {"http", "https", "grpc", "grpcs"}:
            for position in range(max(1, len(rule.paths))):
                yield rule, position


def _priority(rule: RouteRule, position: int, request: Request) -> tuple[Any, ...]:
    snis_count = bool(rule.snis) and request.tls
    bits = [
        64 * bool(rule.hosts),
        32 * bool(rule.headers),
        16 * bool(rule.paths),
        8 * bool(rule.methods),
        4 * snis_count,
    ]
    path = rule.paths[position] if rule.paths else ""
    is_regex = path.startswith("~")
    wildcards = [host for host in rule.hosts if "*" in host]
    wildcard_with_port = any(":" in host for host in wildcards)
    names_port = any(
        host.encode() == request.host and re.fullmatch(r"[^:]+:\d+|\[.*\]:\d+", host)
        for host in rule.hosts
    )
    return (
        -sum(map(bool, bits)),
        -sum(bits),
        bool(rule.snis) and not request.tls,
        -4 * wildcard_with_port - 2 * (not wildcards),
        -names_port,
        -is_regex,
        -len(rule.headers),
        -rule.regex_priority if is_regex else 0,
        0 if is_regex else -len(path.encode()),
        rule.created_at,
        rule.id.int,
        position,
    )


def _matches(rule: RouteRule, position: int, request: Request) -> bool:
    return (
        (not rule.hosts or any(_host_matches(host, request) for host in rule.hosts))
        and (not rule.paths or _matched_text(rule, position, request) is not None)
        and (not rule.methods or request.method.decode() in rule.methods)
        and all(_header_matches(name, rule.headers[name], request) for name in rule.headers)
        and (not rule.snis or not request.tls or _sni_matches(rule, request))
    )


def _host_matches(configured: str, request: Request) -> bool:
    host = request.host.decode("latin-1")
    with_port = re.fullmatch(r"(\[[0-9a-f:]+\]|[^:\[\]]*):(\d+)", host)
    name, port = with_port.groups() if with_port else (host, None)
    name = re.sub(r"^\[(.*)\]$", r"\1", name)
    if "*" not in configured:
        return configured in {host, name}
    pattern, _, configured_port = configured.partition(":")
    if configured_port and configured_port != (port or ("443" if request.tls else "80")):
        return False
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".+"), name) is not None


def _matched_text(rule: RouteRule, position: int, request: Request) -> bytes | None:
    if not rule.paths:
        return None
    path = rule.paths[position].encode()
    if not path.startswith(b"~"):
        return path if request.path.startswith(path) else None
    found = re.match(path[1:], request.path)
    return found[0] if found else None


def _header_matches(name: str, configured: tuple[str, ...], request: Request) -> bool:
    values = [value.lower() for key, value in request.headers if key == name.lower().encode()]
    if len(configured) == 1 and configured[0].startswith("~*"):
        return any(re.search(configured[0][2:].encode(), value) for value in values)
    return any(value in {text.lower().encode() for text in configured} for value in values)


def _sni_matches(rule: RouteRule, request: Request) -> bool:
    return request.sni is not None and request.sni in {
        sni.removesuffix(".").encode() for sni in rule.snis
    }

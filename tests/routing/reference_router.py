"""A brute-force reading of the router's reference: sort all entries, take the first full match.

Written for being read beside ``router.md`` sections 2 and 3; shares no code with the router. What
the two flavors read differently stands in one class each.
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
    port: int = 8000  # the listener's


Place = tuple[RouteRule, int]
"""One entry: a route by one of its paths."""


def first_match(
    rules: Iterable[RouteRule], request: Request, *, compatible: bool
) -> tuple[str, bytes | None] | None:
    """Return the name of the route that takes the request and the text its path matched."""
    reading = Compatible() if compatible else Traditional()
    for rule, position in sorted(_places(rules), key=lambda place: reading.order(place, request)):
        if reading.matches((rule, position), request):
            return rule.payload, _matched_text((rule, position), request)
    return None


class Traditional:
    """Flavor ``traditional``."""

    def order(self, place: Place, request: Request) -> tuple[Any, ...]:
        """Return what sorts as the criteria of section 3 do."""
        rule, position = place
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

    def matches(self, place: Place, request: Request) -> bool:
        """Tell whether all attributes of a route match."""
        rule, _ = place
        return (
            (not rule.hosts or any(self.host_matches(host, request) for host in rule.hosts))
            and (not rule.paths or _matched_text(place, request) is not None)
            and (not rule.methods or request.method.decode() in rule.methods)
            and all(
                self.header_matches(rule.headers[name], _values(name, request))
                for name in rule.headers
            )
            and (not rule.snis or not request.tls or self.sni_matches(rule, request.sni))
        )

    def host_matches(self, configured: str, request: Request) -> bool:
        """Tell whether a Host is what a configured one asks for (section 2.1)."""
        name, port = _split_host(request)
        if "*" not in configured:
            return configured in {request.host.decode("latin-1"), name}
        pattern, _, configured_port = configured.partition(":")
        if configured_port and configured_port != (port or ("443" if request.tls else "80")):
            return False
        return re.fullmatch(re.escape(pattern).replace(r"\*", ".+"), name) is not None

    def header_matches(self, configured: tuple[str, ...], values: list[bytes]) -> bool:
        """Tell whether one of a header's values is one of the configured ones."""
        if len(configured) == 1 and configured[0].startswith("~*"):
            return any(re.search(configured[0][2:].encode(), value) for value in values)
        return any(value in {text.lower().encode() for text in configured} for value in values)

    def sni_matches(self, rule: RouteRule, sni: bytes | None) -> bool:
        """Tell whether a server name is one of the configured ones."""
        return sni is not None and sni in {name.removesuffix(".").encode() for name in rule.snis}


class Compatible(Traditional):
    """Flavor ``traditional_compatible``."""

    def order(self, place: Place, request: Request) -> tuple[Any, ...]:
        """Return what sorts as the 64-bit number does, then the larger id first."""
        rule, position = place
        path = rule.paths[position] if rule.paths else ""
        is_regex = path.startswith("~")
        attributes = [rule.hosts, rule.headers, rule.paths, rule.methods, rule.snis]
        number = (
            2**61 * sum(map(bool, attributes))
            + 2**60 * (rule.hosts != () and "*" not in "".join(rule.hosts))
            + 2**52 * len(rule.headers)
            + 2**51 * is_regex
            + 2**19 * (rule.regex_priority if is_regex else 0)
            + (0 if is_regex else len(path.encode()))
        )
        return -number, -rule.id.int, position

    def host_matches(self, configured: str, request: Request) -> bool:
        """Compare ports, then starts, ends or all of the names."""
        if not request.host:
            return False
        name, port = _split_host(request)
        bracketed = re.fullmatch(r"\[(.*)\]:(\d+)|([^:]*):(\d+)", configured)
        if bracketed:
            configured = bracketed[1] or bracketed[3]
            if (port or str(request.port)) != (bracketed[2] or bracketed[4]):
                return False
        if configured.startswith("*"):
            return name.endswith(configured[1:])
        if configured.endswith("*"):
            return name.startswith(configured[:-1])
        return name == configured

    def header_matches(self, configured: tuple[str, ...], values: list[bytes]) -> bool:
        """Take each value as a regex or a text of its own, and lower both."""
        regexes = [text[2:].lower().encode() for text in configured if text.startswith("~*")]
        texts = {text.lower().encode() for text in configured if not text.startswith("~*")}
        return any(
            value in texts or any(re.search(regex, value) for regex in regexes) for value in values
        )

    def sni_matches(self, rule: RouteRule, sni: bytes | None) -> bool:
        """Let a ``*`` at either end stand for anything."""
        if sni is None:
            return False
        names = [re.escape(name.removesuffix(".")).replace(r"\*", ".*") for name in rule.snis]
        return any(re.fullmatch(name.encode(), sni) for name in names)


def _places(rules: Iterable[RouteRule]) -> Iterator[Place]:
    for rule in rules:
        if rule.protocols & {"http", "https", "grpc", "grpcs"}:
            for position in range(max(1, len(rule.paths))):
                yield rule, position


def _split_host(request: Request) -> tuple[str, str | None]:
    host = request.host.decode("latin-1")
    with_port = re.fullmatch(r"(\[[0-9a-f:]+\]|[^:\[\]]*):(\d+)", host)
    name, port = with_port.groups() if with_port else (host, None)
    return re.sub(r"^\[(.*)\]$", r"\1", name), port


def _matched_text(place: Place, request: Request) -> bytes | None:
    rule, position = place
    if not rule.paths:
        return None
    path = rule.paths[position].encode()
    if not path.startswith(b"~"):
        return path if request.path.startswith(path) else None
    found = re.match(path[1:], request.path)
    return found[0] if found else None


def _values(name: str, request: Request) -> list[bytes]:
    return [value.lower() for key, value in request.headers if key == name.lower().encode()]

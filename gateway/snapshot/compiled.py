"""Rows compiled to what a request needs: bytes ready to be sent, numbers in seconds.

Each function takes one row and raises ValueError with a sentence when no code can serve it, so
that the builder can leave out that row and name it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Literal
from uuid import UUID

from gateway.balancing import Balancing, HashInput, HashOn
from gateway.balancing.group import ALGORITHMS
from gateway.balancing.health_checks import HealthChecks
from gateway.routing import HTTP_FAMILY, RouteRule
from gateway.routing.paths import PathHandling
from gateway.snapshot.health_checks import compile_health_checks

Row = Mapping[str, Any]

SERVED_PROTOCOLS = frozenset({"http", "https"})
DEFAULT_PORTS = {"http": 80, "https": 443}
REDIRECTS = frozenset({301, 302, 307, 308, 426})
"""How plain HTTP is sent away from a route for HTTPS (router.md section 8)."""

_PORT = (0, 65_535)
_TIMEOUT_MS = (60_000, 1, 2**31 - 2)  # default, least, greatest
_HOST = re.compile(r"[^\x00-\x20\x7f]+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COOKIE_PATH = re.compile(r"[^\x00-\x1f;\x7f-\U0010ffff]+")


@dataclass(frozen=True, slots=True)
class Target:
    """One ``host:port`` that requests can be sent to, without brackets around an IPv6 address.

    ``address`` is the host when that is an IP literal; None means that it has to be resolved.
    """

    host: str
    port: int
    weight: int
    address: str | None

    @classmethod
    def of(cls, host: str, port: int, weight: int = 1) -> Target:
        """Make a target; its host may have brackets."""
        host = host.removeprefix("[").removesuffix("]")
        return cls(host, port, weight, _address(host))


def host_headers(host: str, port: int) -> Mapping[str, bytes]:
    """Return the Host header that each protocol sends (router.md section 7).

    ``host`` is a name or an address, or a name with a port of its own.
    """
    name = host
    if ":" in host:
        address = _address(host.strip("[]"))
        if address is None:
            return dict.fromkeys(DEFAULT_PORTS, host.encode())
        name = f"[{address}]"
    return {
        protocol: (name if port == default else f"{name}:{port}").encode()
        for protocol, default in DEFAULT_PORTS.items()
    }


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """Where a route's requests go: to ``direct`` unless ``host`` names an upstream entity.

    The node's settings stand in for what of TLS is None or empty. The certificates' ids may lead to
    none in the snapshot.
    """

    id: UUID
    name: str | None
    protocol: str
    host: str
    path: bytes
    retries: int
    connect_timeout_s: float
    write_timeout_s: float
    read_timeout_s: float
    tls_verify: bool | None
    tls_verify_depth: int | None
    ca_certificates: tuple[UUID, ...]
    client_certificate: UUID | None
    enabled: bool
    direct: Target

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return self.name or self.host


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """What happens to a request once the router has chosen this route.

    ``only`` is the protocol that all requests must come by, None if plain HTTP will do.
    """

    id: UUID
    name: str | None
    service_id: UUID | None
    strip_path: bool
    preserve_host: bool
    path_handling: PathHandling
    only: Literal["https", "grpc"] | None
    https_redirect_status_code: int
    request_buffering: bool
    response_buffering: bool

    @property
    def label(self) -> str:
        """What metrics and logs call it."""
        return self.name or str(self.id)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A named set of targets, and how requests are spread over them.

    ``host_header`` replaces the targets' names. With ``use_srv_name`` the name that an SRV record
    leads to does, unless there is a ``host_header``. ``health_checks`` is None where they are off.
    """

    id: UUID
    name: str
    balancing: Balancing
    host_header: str | None
    use_srv_name: bool
    client_certificate: UUID | None
    health_checks: HealthChecks | None
    targets: Mapping[UUID, Target]

    def with_targets(self, targets: Mapping[UUID, Target]) -> Upstream:
        """Return this upstream over another set of targets."""
        return replace(self, targets=targets)


def compile_service(row: Row) -> Service:
    """Compile a row of ``services``."""
    protocol = row["protocol"]
    if protocol not in SERVED_PROTOCOLS:
        raise ValueError(f"protocol '{protocol}' is not served by this version")
    return Service(
        id=row["id"],
        name=row["name"],
        protocol=protocol,
        host=_host(row["host"]),
        path=(row["path"] or "/").encode(),
        retries=_number(row, "retries", 5, 0, 32_767),
        connect_timeout_s=_number(row, "connect_timeout", *_TIMEOUT_MS) / 1000,
        write_timeout_s=_number(row, "write_timeout", *_TIMEOUT_MS) / 1000,
        read_timeout_s=_number(row, "read_timeout", *_TIMEOUT_MS) / 1000,
        tls_verify=row["tls_verify"],
        tls_verify_depth=_tls_verify_depth(row),
        ca_certificates=_ids(row, "ca_certificates"),
        client_certificate=row["client_certificate_id"],
        enabled=row["enabled"],
        direct=Target.of(row["host"], _number(row, "port", 80, *_PORT)),
    )


def compile_route(row: Row, *, compatible: bool = False) -> RouteRule:
    """Compile a row of ``routes`` to what the router needs; its payload is a `Route`.

    Flavor ``traditional_compatible`` knows no path handling but v0 (router.md section 6).
    """
    protocols = frozenset(_texts(row, "protocols"))
    if not protocols & HTTP_FAMILY:
        raise ValueError(f"protocols {sorted(protocols)} are not served by this version")
    route = Route(
        id=row["id"],
        name=row["name"],
        service_id=row["service_id"],
        strip_path=row["strip_path"],
        preserve_host=row["preserve_host"],
        path_handling="v0" if compatible else row["path_handling"] or "v0",
        only=_only(protocols),
        https_redirect_status_code=_redirect(row["https_redirect_status_code"]),
        request_buffering=row["request_buffering"],
        response_buffering=row["response_buffering"],
    )
    return RouteRule(
        id=route.id,
        created_at=_created_at(row),
        protocols=protocols,
        hosts=_texts(row, "hosts"),
        paths=_texts(row, "paths"),
        methods=frozenset(_texts(row, "methods")),
        headers=_headers(row),
        snis=frozenset(_texts(row, "snis")),
        regex_priority=row["regex_priority"] or 0,
        payload=route,
    )


def compile_upstream(row: Row, targets: Mapping[UUID, Target]) -> Upstream:
    """Compile a row of ``upstreams`` with the targets it has."""
    host_header = None if row["host_header"] is None else _host(row["host_header"])
    return Upstream(
        id=row["id"],
        name=row["name"],
        balancing=_balancing(row),
        host_header=host_header,
        use_srv_name=bool(row["use_srv_name"]),
        client_certificate=row["client_certificate_id"],
        health_checks=compile_health_checks(row["healthchecks"], host_header),
        targets=targets,
    )


def nameless_upstream(id_: UUID, targets: Mapping[UUID, Target]) -> Upstream:
    """Return what keeps the targets of a bad row until it is cured; no service can name it."""
    return Upstream(
        id=id_,
        name="",
        balancing=Balancing(),
        host_header=None,
        use_srv_name=False,
        client_certificate=None,
        health_checks=None,
        targets=targets,
    )


def parse_target(row: Row) -> Target:
    """Compile a row of ``targets``."""
    host, port = split_target(row["target"])
    return Target.of(host, port, _number(row, "weight", 100, 0, 65_535))


def split_target(text: str) -> tuple[str, int]:
    """Split ``host:port``, ``ip:port`` or ``[v6]:port``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"target '{text}' is not host:port")
    return _host(host), _within("port", int(port), *_PORT)


def _balancing(row: Row) -> Balancing:
    algorithm = row["algorithm"] or "round-robin"
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm '{algorithm}' is not served by this version")
    healthchecks = row["healthchecks"] or {}
    return Balancing(
        algorithm=algorithm,
        hash_on=_hash_on(row) if algorithm == "consistent-hashing" else None,
        slots=_number(row, "slots", 10_000, 10, 65_536),
        threshold=healthchecks.get("threshold") or 0,
    )


def _hash_on(row: Row) -> HashOn | None:
    """Return what is hashed of requests, None for nothing."""
    inputs = tuple(
        HashInput(kind, _hash_name(row, which, kind))
        for which, kind in (("on", row["hash_on"]), ("fallback", row["hash_fallback"]))
        if kind not in (None, "none")
    )
    path = row["hash_on_cookie_path"] or "/"
    if _COOKIE_PATH.fullmatch(path) is None:
        raise ValueError(f"hash_on_cookie_path {path!r} cannot stand in a cookie")
    return HashOn(inputs, path) if inputs else None


def _hash_name(row: Row, which: str, kind: str) -> str:
    """Return the name of the header, cookie, argument or capture; the others have none."""
    if kind in ("consumer", "ip", "path"):
        return ""
    if kind not in ("header", "cookie", "query_arg", "uri_capture"):
        raise ValueError(f"hash_{which} '{kind}' is not served by this version")
    column = "hash_on_cookie" if kind == "cookie" else f"hash_{which}_{kind}"
    name = row[column]
    if not name or (kind in ("header", "cookie") and _TOKEN.fullmatch(name) is None):
        raise ValueError(f"{column} {name!r} is no name for hash_{which} '{kind}'")
    return str(name)


def _host(text: str) -> str:
    """Return ``text`` if it may stand in a Host header: nothing in it that would end the line."""
    if _HOST.fullmatch(text) is None:
        raise ValueError(f"host '{text}' is not a name or an address")
    return text


def _number(row: Row, column: str, default: int, least: int, greatest: int) -> int:
    value = row[column]
    return default if value is None else _within(column, value, least, greatest)


def _within(what: str, value: int, least: int, greatest: int) -> int:
    if not least <= value <= greatest:
        raise ValueError(f"{what} {value} is not between {least} and {greatest}")
    return value


def _tls_verify_depth(row: Row) -> int | None:
    depth: int | None = row["tls_verify_depth"]
    return None if depth is None else _within("tls_verify_depth", depth, 0, 64)


def _ids(row: Row, column: str) -> tuple[UUID, ...]:
    try:
        return tuple(map(UUID, _texts(row, column)))
    except ValueError:
        raise ValueError(f"{column} {row[column]!r} are not a list of ids") from None


def _texts(row: Row, column: str) -> tuple[str, ...]:
    """Return a list of texts; an array of PostgreSQL may also hold NULLs, or arrays."""
    texts = tuple(row[column] or ())
    if not set(map(type, texts)) <= {str}:
        raise ValueError(f"{column} {list(texts)} are not a list of texts")
    return texts


def _headers(row: Row) -> Mapping[str, tuple[str, ...]]:
    """Return header names with their values; a column for JSON may hold anything."""
    headers = {} if row["headers"] is None else row["headers"]
    if not isinstance(headers, dict) or not all(map(_is_list_of_texts, headers.values())):
        raise ValueError(f"headers {headers!r} are not lists of texts by name")
    return {name: tuple(values) for name, values in headers.items()}


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= {str}


def _only(protocols: frozenset[str]) -> Literal["https", "grpc"] | None:
    if "http" in protocols:
        return None
    return "https" if "https" in protocols else "grpc"


def _created_at(row: Row) -> float:
    """Return the time in seconds; one that Python has no date for comes as a text."""
    created_at = row["created_at"]
    if not isinstance(created_at, datetime):
        raise ValueError(f"created_at {created_at} is beyond all dates")  # noqa: TRY004 - a value
    return created_at.timestamp()


def _redirect(status: int) -> int:
    if status not in REDIRECTS:
        raise ValueError(f"https_redirect_status_code {status} is none of {sorted(REDIRECTS)}")
    return status


def _address(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None

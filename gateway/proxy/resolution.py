"""From request facts to where the request goes, remembered while the snapshot lasts.

Most requests repeat the (method, host, path) of an earlier one, so all that follows from those
three is worked out once per snapshot: candidates in the router's order, the upstream path, and
the header lines that depend on nothing else. The memo is bounded and dies with its snapshot.
"""

from __future__ import annotations

from typing import Any

from gateway.balancing import Balancer
from gateway.metrics.traffic import RouteTraffic, TrafficMetrics
from gateway.proxy.http1 import RequestHead
from gateway.routing import Candidate, select
from gateway.routing.paths import escape, forwarded_prefix, normalize, upstream_path
from gateway.snapshot import Route, Service, Snapshot, Target

_MEMO_LIMIT = 8192


class Resolution:
    """One route chosen for one (method, host, path), ready to be sent."""

    __slots__ = ("balancer", "forwarded", "route", "service", "traffic", "upstream_path")

    route: Route
    service: Service | None
    balancer: Balancer[Target]  # only when there is a service
    upstream_path: bytes
    forwarded: bytes  # header lines, each led by CRLF
    traffic: RouteTraffic


class RouteTable:
    """A snapshot as the proxy uses it: finds the `Resolution` of a request."""

    def __init__(self, snapshot: Snapshot, traffic: TrafficMetrics) -> None:
        self.snapshot = snapshot
        self._traffic = traffic
        self._certain: dict[tuple[bytes, bytes, bytes], Resolution | None] = {}
        self._conditional: dict[tuple[bytes, bytes, bytes], tuple[Candidate, ...]] = {}

    def find(self, head: RequestHead, host: bytes, path: bytes) -> Resolution | None:
        """Return where the request goes, None when no route matches.

        ``path`` is the raw path of the request target, without the query.
        """
        key = (head.method, host, path)
        try:
            return self._certain[key]
        except KeyError:
            return self._find_anew(key, head)

    def _find_anew(self, key: tuple[bytes, bytes, bytes], head: RequestHead) -> Resolution | None:
        method, host, path = key
        candidates = self._conditional.get(key)
        if candidates is None:
            candidates = self.snapshot.router.candidates(
                False, method, host, normalize(path), self.snapshot.serves
            )
        if any(candidate.conditions is not None for candidate in candidates):
            self._conditional[key] = candidates
            _bound(self._conditional)
            chosen = select(candidates, head.headers(), None)
            return None if chosen is None else self._resolve(chosen, host, path)
        resolution = self._resolve(candidates[0], host, path) if candidates else None
        self._certain[key] = resolution
        _bound(self._certain)
        return resolution

    def _resolve(self, candidate: Candidate, host: bytes, path: bytes) -> Resolution:
        route: Route = candidate.payload
        service = self.snapshot.service_of(route)
        resolution = Resolution()
        resolution.route = route
        resolution.service = service
        if service is not None:
            resolution.balancer = self.snapshot.balancer_of(service)
        resolution.forwarded = _forwarded_lines(route, candidate.matched, host, path)
        resolution.traffic = self._traffic.of_route(
            route.id, "" if service is None else service.label, route.label
        )
        resolution.upstream_path = escape(
            upstream_path(
                b"/" if service is None else service.path,
                normalize(path),
                candidate.matched,
                strip=route.strip_path,
                handling=route.path_handling,
            )
        )
        return resolution


def _forwarded_lines(route: Route, matched: bytes | None, host: bytes, path: bytes) -> bytes:
    """Return X-Forwarded-Host, -Path and -Prefix as header lines led by CRLF (proxying.md §2)."""
    lines = b"\r\nX-Forwarded-Path: " + path
    name = host_without_port(host)
    if name:
        lines += b"\r\nX-Forwarded-Host: " + name.lower()
    prefix = forwarded_prefix(matched, strip=route.strip_path)
    if prefix is not None:
        lines += b"\r\nX-Forwarded-Prefix: " + prefix
    return lines


def host_without_port(host: bytes) -> bytes:
    """Return ``host`` without ``:port``; brackets of an IPv6 address stay."""
    if host.startswith(b"["):
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0]


def _bound(memo: dict[tuple[bytes, bytes, bytes], Any]) -> None:
    """Start over when full: simpler than LRU, and a clear costs less than tracking use."""
    if len(memo) > _MEMO_LIMIT:
        memo.clear()

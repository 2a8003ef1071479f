"""From request facts to where the request goes, remembered while the snapshot lasts.

Most requests repeat the (method, host, path) of an earlier one, so all that follows from those
three is worked out once per snapshot: candidates in the router's order, the upstream path, and
the header lines that depend on nothing else. The memo is bounded and goes with its snapshot.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.balancing import Balancer
from gateway.metrics.traffic import RouteTraffic, TrafficMetrics
from gateway.proxy.client import Client
from gateway.proxy.http1 import RequestHead
from gateway.proxy.upstream_tls import TlsTerms, UpstreamTls
from gateway.routing import Candidate, select
from gateway.routing.paths import escape, forwarded_prefix, normalize, upstream_path
from gateway.snapshot import Route, Service, Snapshot, Target

_MEMO_KEYS = 16_384
_MEMO_KEY_BYTES = 512
_FORGOTTEN_AT_ONCE = 256

Key = tuple[bytes, bytes, bytes]
"""Method, host, raw path."""


class Resolution:
    """One route chosen for one (method, host, path), ready to be sent."""

    __slots__ = ("balancer", "forwarded", "route", "service", "tls", "traffic", "upstream_path")

    route: Route
    service: Service | None
    balancer: Balancer[Target]  # only when there is a service, like the next
    tls: TlsTerms | None
    upstream_path: bytes
    forwarded: bytes  # header lines, each led by CRLF
    traffic: RouteTraffic


# What follows from a key: where the request goes, or the routes that look at more than the key.
Found = Resolution | tuple[Candidate, ...] | None
Memo = OrderedDict[Key, Found]


class RouteTable:
    """A snapshot as the proxy uses it: finds the `Resolution` of a request."""

    def __init__(
        self, snapshot: Snapshot, traffic: TrafficMetrics, upstream_tls: UpstreamTls
    ) -> None:
        self.snapshot = snapshot
        self._traffic = traffic
        self._upstream_tls = upstream_tls
        self._plain: Memo = OrderedDict()
        self._tls: Memo = OrderedDict()

    def find(
        self, head: RequestHead, host: bytes, path: bytes, client: Client
    ) -> Resolution | None:
        """Return where the request goes, None when no route matches.

        ``path`` is the raw path of the request target, without the query.
        """
        memo = self._tls if client.tls else self._plain
        key = (head.method, host, path)
        try:
            found = memo[key]
        except KeyError:
            found = self._work_out(key, tls=client.tls)
            _remember(memo, key, found)
        if isinstance(found, tuple):
            chosen = select(found, head.fields.headers(), client.sni)
            return None if chosen is None else self._resolve(chosen, host, path, normalize(path))
        return found

    def forget_some(self) -> bool:
        """Forget a few of the oldest keys; return whether there are more.

        A table that is not used any more is emptied this way: all at once would take milliseconds.
        """
        memo = self._plain or self._tls
        for _ in range(min(_FORGOTTEN_AT_ONCE, len(memo))):
            memo.popitem(last=False)
        return bool(self._plain or self._tls)

    def _work_out(self, key: Key, *, tls: bool) -> Found:
        method, host, path = key
        normal = normalize(path)
        candidates = self.snapshot.router.candidates(
            tls, method, host, normal, self.snapshot.serves
        )
        if not candidates:
            return None
        if len(candidates) > 1 or candidates[0].conditions is not None:
            return candidates
        return self._resolve(candidates[0], host, path, normal)

    def _resolve(self, candidate: Candidate, host: bytes, path: bytes, normal: bytes) -> Resolution:
        route: Route = candidate.payload
        service = self.snapshot.service_of(route)
        resolution = Resolution()
        resolution.route = route
        resolution.service = service
        if service is not None:
            resolution.balancer = self.snapshot.balancer_of(service)
            resolution.tls = self._upstream_tls.terms_of(service, self.snapshot)
        resolution.forwarded = _forwarded_lines(route, candidate.matched, host, path)
        resolution.traffic = self._traffic.of_route(
            route.id, "" if service is None else service.label, route.label
        )
        resolution.upstream_path = escape(
            upstream_path(
                b"/" if service is None else service.path,
                normal,
                candidate.matched,
                strip=route.strip_path,
                handling=route.path_handling,
            )
        )
        return resolution


def _remember(memo: Memo, key: Key, found: Found) -> None:
    if len(key[1]) + len(key[2]) > _MEMO_KEY_BYTES:
        return
    memo[key] = found
    if len(memo) > _MEMO_KEYS:
        memo.popitem(last=False)


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

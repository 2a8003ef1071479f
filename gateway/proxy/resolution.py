"""From request facts to where the request goes, remembered while the snapshot lasts.

Most requests repeat the (method, host, path) of an earlier one, so all that follows from those
three is worked out once per snapshot: candidates in the router's order, the upstream path, and
the header lines that depend on nothing else. What follows from the route alone is kept per route.

A key is remembered when it comes the second time. So paths that nobody asks for again, an id in
each of them or a scanner's guesses, cost no memory and push nothing out. What is remembered goes
with its snapshot; it is bounded, by more where there are more routes.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict

from gateway.metrics.traffic import RouteTraffic, TrafficMetrics
from gateway.plugins.chain import Chain
from gateway.proxy import errors
from gateway.proxy.client import Client
from gateway.proxy.destinations import Destination, Destinations
from gateway.proxy.http1 import RequestHead
from gateway.proxy.upstream_tls import TlsTerms, UpstreamTls
from gateway.routing import Candidate, Captures, select
from gateway.routing.hosts import with_port
from gateway.routing.paths import escape, forwarded_prefix, normalize, upstream_path
from gateway.settings import RouterFlavor
from gateway.snapshot import Route, Service, Snapshot
from gateway.snapshot.heap import RequestHeap

_MEMO_KEYS = 16_384
_MEMO_KEYS_PER_ROUTE = 1.25
_MEMO_KEY_BYTES = 512
_SHARED_WORDS = 1024
_SIGHTINGS = 1 << 18
_FORGOTTEN_AT_ONCE = 256

Key = tuple[bytes, bytes, bytes]
"""Method, host, raw path."""


class Sightings:
    """Which keys have come before, by their hashes; of those that share a place, the last."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks = array("q", bytes(8 * _SIGHTINGS))

    def has_seen(self, key: Key) -> bool:
        """Tell whether this key came before, and know it from now on."""
        mark = hash(key)
        place = mark % _SIGHTINGS
        if self._marks[place] == mark:
            return True
        self._marks[place] = mark
        return False


class Way:
    """What all requests of one route have in common while the snapshot lasts.

    Without a ``service`` they go nowhere, and ``unserved`` is what they are told. ``chain`` is what
    plugins they meet, None for none.
    """

    __slots__ = (
        "chain",
        "destination",
        "route",
        "serves",
        "service",
        "tls",
        "traffic",
        "unserved",
    )

    route: Route
    serves: bool
    service: Service | None
    destination: Destination
    tls: TlsTerms | None
    traffic: RouteTraffic
    unserved: str
    chain: Chain | None


class Resolution(Way):
    """The way of one (method, host, path), ready to be sent."""

    __slots__ = ("candidate", "forwarded", "upstream_path")

    candidate: Candidate
    upstream_path: bytes
    forwarded: bytes  # header lines, each led by CRLF

    @property
    def captures(self) -> Captures | None:
        """What the groups of the route's path regex matched; None if it has none."""
        return self.candidate.captures


# What follows from a key: where the request goes, or the routes that look at more than the key.
Found = Resolution | tuple[Candidate, ...]
Memo = OrderedDict[Key, Found]


class RouteTable:
    """A snapshot as the proxy uses it: finds the `Resolution` of a request."""

    def __init__(
        self,
        snapshot: Snapshot,
        traffic: TrafficMetrics,
        upstream_tls: UpstreamTls,
        flavor: RouterFlavor,
        *,
        destinations: Destinations,
        heap: RequestHeap,
        sightings: Sightings,
    ) -> None:
        self.snapshot = snapshot
        self._traffic = traffic
        self._upstream_tls = upstream_tls
        self._destinations = destinations
        self._heap = heap
        self._assumes_port = flavor is RouterFlavor.TRADITIONAL_COMPATIBLE
        self._plain: Memo = OrderedDict()
        self._tls: Memo = OrderedDict()
        self._sightings = sightings
        self._most_keys = max(_MEMO_KEYS, int(_MEMO_KEYS_PER_ROUTE * len(snapshot.router)))
        self._words: dict[bytes, bytes] = {}  # methods and hosts of the keys, each only once
        self._ways: dict[Route, Way] = {}
        self._plugins = snapshot.plugins.order()
        self.logs = snapshot.plugins.logs
        self.chain_without_route = self._chain_of(None)

    def find(
        self, head: RequestHead, host: bytes, path: bytes, client: Client
    ) -> Resolution | None:
        """Return where the request goes, None when no route matches.

        ``path`` is the raw path of the request target, without the query.
        """
        if self._assumes_port:
            host = with_port(host, client.port)  # router.md section 2.1, [compat]
        memo = self._tls if client.tls else self._plain
        key = (head.method, host, path)
        found = memo.get(key)
        if found is None:
            found = self._work_out(key, tls=client.tls)
            self._note(key, found, memo)
        if isinstance(found, tuple):
            chosen = select(found, head.fields.headers(), client.sni)
            return None if chosen is None else self._resolve(chosen, host, path, normalize(path))
        return found

    def forget_some(self) -> bool:
        """Forget a few of the oldest keys; return whether there are more.

        A table that is not used any more is emptied this way: all at once would take milliseconds.
        """
        for kept in (self._plain, self._tls, self._ways, self._words):
            if kept:
                for _ in range(min(_FORGOTTEN_AT_ONCE, len(kept))):
                    kept.popitem()
                return True
        return False

    def _note(self, key: Key, found: Found, memo: Memo) -> None:
        """Remember what follows from a key if it is not the first time that it comes."""
        method, host, path = key
        if self._sightings.has_seen(key) and len(host) + len(path) <= _MEMO_KEY_BYTES:
            words = self._words
            share = words.setdefault if len(words) < _SHARED_WORDS else words.get
            memo[share(method, method), share(host, host), path] = found
            self._heap.note_kept()
            if len(memo) > self._most_keys:
                memo.popitem(last=False)

    def _work_out(self, key: Key, *, tls: bool) -> Found:
        method, host, path = key
        normal = normalize(path)
        candidates = self.snapshot.router.candidates(tls, method, host, normal, self._serves)
        if len(candidates) == 1 and candidates[0].conditions is None:
            return self._resolve(candidates[0], host, path, normal)
        return candidates

    def _resolve(self, candidate: Candidate, host: bytes, path: bytes, normal: bytes) -> Resolution:
        way = self._ways[candidate.payload]
        resolution = Resolution()
        resolution.route = route = way.route
        resolution.service = service = way.service
        resolution.destination = way.destination
        resolution.tls = way.tls
        resolution.traffic = way.traffic
        resolution.unserved = way.unserved
        resolution.chain = way.chain
        resolution.candidate = candidate
        resolution.forwarded = _forwarded_lines(route, candidate.matched, host, path)
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

    def _chain_of(self, route: Route | None) -> Chain | None:
        if not self._plugins:
            return None
        return self.snapshot.plugins.chain(self._plugins, route, self.snapshot.directory)

    def _serves(self, route: Route) -> bool:
        """Tell whether the router may choose ``route``: not when its service is disabled."""
        return (self._ways.get(route) or self._make_way(route)).serves

    def _make_way(self, route: Route) -> Way:
        """Work out what all requests of a route have in common, and keep it."""
        snapshot = self.snapshot
        way = Way()
        way.route = route
        service = snapshot.service_of(route)
        way.serves = service is None or service.enabled
        missing = snapshot.plugins.missing_for(route)
        way.service = service if missing is None else None
        way.unserved = errors.NO_SERVICE if missing is None else errors.missing_plugin(missing)
        way.chain = self._chain_of(route) if missing is None else None
        to = self._destinations
        way.destination = to.nowhere if service is None else to.of(service, snapshot)
        way.tls = None if service is None else self._upstream_tls.terms_of(service, snapshot)
        label = "" if service is None else service.label
        self._ways[route] = way
        self._heap.note_kept()
        way.traffic = self._traffic.of_route(route.id, label, route.label)
        return way


def _forwarded_lines(route: Route, matched: bytes | None, host: bytes, path: bytes) -> bytes:
    """Return X-Forwarded-Host, -Path and -Prefix as header lines led by CRLF (proxying.md §2)."""
    lines = b"\r\nX-Forwarded-Path: " + path
    name = host if host.find(b":") < 0 else host_without_port(host)
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

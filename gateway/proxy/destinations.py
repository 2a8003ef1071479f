"""Where requests of services go at the moment: what configuration and DNS say, together.

Destinations outlive snapshots, as what is known of their endpoints does: the place in a turn, tries
in flight, latencies. One of an upstream entity lasts as long as that; services whose host names
none share one for each host and port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from math import inf
from time import perf_counter
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from gateway.balancing import Balancing, Endpoint, Group, Member
from gateway.balancing.endpoint import Identity
from gateway.balancing.health import Report
from gateway.proxy import errors
from gateway.proxy.health.checker import HealthChecker
from gateway.proxy.health.watch import Watch
from gateway.proxy.name_lookup import Address
from gateway.proxy.resolver import Name, Resolver
from gateway.snapshot import Service, Snapshot, Target, Upstream
from gateway.snapshot.compiled import host_headers
from gateway.snapshot.heap import RequestHeap
from gateway.status.health import host_and_port

_SWEEP_S = 0.001
"""How long destinations are brought up to date before others have their turn."""

_LOOKUPS_S = 10.0
"""How long to wait for names at most: their own deadlines may follow each other."""

_DIRECT = Balancing()

_Mark = tuple[str, int, str | None]
"""Host and port of a target, and which of its addresses."""

_EARLY_MARKS_LIMIT = 1000


class Waiter(Protocol):
    """Who waits until a destination has an endpoint, or it is clear that it gets none."""

    def on_endpoints_known(self) -> None:
        """Go on."""
        ...


class Destination(Group):
    """The endpoints of one upstream entity, or of one host and port.

    ``due_at`` is when a name has to be asked for again, a reading of ``perf_counter``: who picks
    calls `refresh` first once it has passed.
    """

    __slots__ = (
        "__weakref__",
        "_early_marks",
        "_host_header",
        "_members",
        "_names",
        "_resolver",
        "_targets",
        "_use_srv_name",
        "_waiters",
        "_watch",
        "due_at",
        "upstream",
    )

    def __init__(self, resolver: Resolver, balancing: Balancing = _DIRECT) -> None:
        super().__init__(balancing)
        self._resolver = resolver
        self.upstream: Upstream | None = None
        self._targets: Sequence[Target] = ()
        self._host_header: str | None = None
        self._use_srv_name = False
        self._names: dict[str, Name] = {}
        self._members: list[Member] = []
        self._waiters: list[Waiter] = []
        self._watch: Watch | None = None  # over the endpoints' health, where it is checked
        self._early_marks: dict[_Mark, bool] = {}  # healthy or not, in the order given
        self.due_at = inf

    # -- what the configuration says

    def follow(self, upstream: Upstream, checker: HealthChecker) -> None:
        """Be what an upstream entity says, if that is news."""
        if upstream is self.upstream or upstream == self.upstream:
            return
        self.upstream = upstream
        self._host_header = upstream.host_header
        self._use_srv_name = upstream.use_srv_name
        self.rebalance(upstream.balancing)
        if upstream.health_checks is None:
            self.leave()
        else:
            self.check_health(upstream.health_checks)
            self._watch = self._watch or checker.watch(self)
        self.lead_to(list(upstream.targets.values()))

    def leave(self) -> None:
        """Have health checked no more. No cycle of references is left: it may be frozen."""
        self.check_health(None)
        self._early_marks.clear()
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def lead_to(self, targets: Sequence[Target]) -> None:
        """Have these targets."""
        self._targets = targets
        hosts = {target.host for target in targets if target.address is None}
        self._names = {host: self._resolver.name(host) for host in hosts}
        self._take()

    def on_turn(self, endpoint: Endpoint, reason: str) -> None:
        """Pass on that an endpoint has become available, or not, and why."""
        if self._watch is not None:
            self._watch.on_turn(endpoint, reason)

    def mark_target(self, target: Target, address: str | None, *, healthy: bool) -> int:
        """Force the state of a target's addresses, or of one; return of how many.

        A name that leads nowhere yet is marked as soon as it does, before its first request.
        """
        endpoints = self.endpoints_of(target)
        if not endpoints:
            self._mark_early((target.host, target.port, address), healthy=healthy)
        marked = [e for e in endpoints if address in (None, host_and_port(e.address, e.port))]
        self.mark(marked, healthy=healthy, reason="set by the Admin API")
        return len(marked)

    def _mark_early(self, mark: _Mark, *, healthy: bool) -> None:
        self._early_marks.pop(mark, None)
        self._early_marks[mark] = healthy
        if len(self._early_marks) > _EARLY_MARKS_LIMIT:
            del self._early_marks[next(iter(self._early_marks))]

    def _heed_early_marks(self) -> None:
        """Mark those that lead somewhere by now."""
        marks, self._early_marks = self._early_marks, {}
        targets = {(target.host, target.port): target for target in self._targets}
        for (host, port, address), healthy in marks.items():
            if (target := targets.get((host, port))) is not None:
                self.mark_target(target, address, healthy=healthy)

    def take_probe(self, identity: Identity, report: Report, reason: str) -> None:
        """Take what the probe of another node has found."""
        if self._watch is not None:
            self._watch.take(identity, report, reason)

    # -- what is told of it

    def endpoints_of(self, target: Target) -> list[Endpoint]:
        """Return what a target stands for; its name by the last answer, however old."""
        addresses = self._addresses_of(target, 0.0)
        found = (
            self.endpoints.get((target.host, address.address, address.port or target.port))
            for address in addresses
        )
        return [endpoint for endpoint in found if endpoint is not None]

    def name_of(self, target: Target) -> Name | None:
        """Return what is known of a target's name, None for an address."""
        return self._names.get(target.host)

    async def names_asked(self) -> None:
        """Wait until names have been asked for that lead nowhere, as far as is known."""
        now = perf_counter()
        unknown = (name for name in self._names.values() if not name.addresses(now))
        lookups = [
            self._resolver.look_up(name, self._on_answer)
            for name in unknown
            if name.fresh_until <= now
        ]
        if lookups:
            await asyncio.wait(lookups, timeout=_LOOKUPS_S)

    # -- what names lead to

    def refresh(self, now: float) -> None:
        """Ask for the names that are due. Until they answer, go by what is known."""
        for name in self._names.values():
            if name.fresh_until <= now:
                self._resolver.look_up(name, self._on_answer)
        self._take()

    @property
    def is_waiting(self) -> bool:
        """Whether there is no endpoint yet, but there may be when names have answered."""
        has_any = any(member.weight for member in self._members)
        return not has_any and any(name.lookup for name in self._names.values())

    def wait(self, waiter: Waiter) -> None:
        """Tell ``waiter`` when it is worth trying again."""
        self._waiters.append(waiter)

    def refusal(self) -> tuple[int, str]:
        """Return status and message for a request that gets no endpoint (proxying.md section 4)."""
        if self.upstream is not None:
            return 503, errors.NO_TARGET
        for name in self._names.values():
            if name.failure and not name.is_denied:
                return 500, errors.lookup_failed(name.host, name.failure)
        return 503, errors.NO_ADDRESS

    def _on_answer(self) -> None:
        self._take()
        if self._waiters and not self.is_waiting:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                asyncio.get_running_loop().call_soon(waiter.on_endpoints_known)

    def _take(self) -> None:
        """Take over what is known of the names by now."""
        now = perf_counter()
        names = self._names.values()
        asked = self._on_answer
        self.due_at = min((n.fresh_until for n in names if asked not in n.waiting), default=inf)
        members = [
            self._member(target, address)
            for target in self._targets
            for address in self._addresses_of(target, now)
        ]
        if members != self._members:
            self._members = members
            self.arrange(members, now)
            if self._early_marks:
                self._heed_early_marks()
        if self._watch is not None:
            self._watch.follow(self.health_checks)
            self._watch.keep_fresh(self.due_at)

    def _addresses_of(self, target: Target, now: float) -> Sequence[Address]:
        """Return where a target leads."""
        if target.address is not None:
            return [Address(target.address)]
        return self._names[target.host].addresses(now)

    def _member(self, target: Target, address: Address) -> Member:
        port = address.port or target.port
        weight = address.weight if address.weight and target.weight else target.weight
        srv_name = address.srv_name if self._use_srv_name else None
        name = self._host_header or srv_name or target.host
        return Member(target.host, address.address, port, weight, host_headers(name, port))


class Destinations:
    """All destinations of a node; those of upstream entities whose health ``checker`` checks."""

    def __init__(
        self,
        resolver: Resolver,
        loop: asyncio.AbstractEventLoop,
        checker: HealthChecker,
        heap: RequestHeap,
    ) -> None:
        self._heap = heap
        self._resolver = resolver
        self._loop = loop
        self.checker = checker
        self.nowhere = Destination(resolver)
        self._of_upstreams: dict[UUID, Destination] = {}
        self._direct: WeakValueDictionary[Target, Destination] = WeakValueDictionary()
        self.snapshot = Snapshot.empty()
        self._unswept: Iterator[UUID] | None = None  # while there is any

    def of(self, service: Service, snapshot: Snapshot) -> Destination:
        """Return where the requests of a service go by ``snapshot``, the current one."""
        upstream = snapshot.upstream_of(service)
        return self._to(service.direct) if upstream is None else self.of_upstream(upstream)

    def of_upstream(self, upstream: Upstream) -> Destination:
        """Return the destination of an upstream entity of the current snapshot."""
        destination = self._of_upstreams.get(upstream.id)
        if destination is not None:
            destination.follow(upstream, self.checker)
            return destination
        destination = Destination(self._resolver, upstream.balancing)
        destination.follow(upstream, self.checker)
        self._of_upstreams[upstream.id] = destination
        self._heap.note_kept(1 + len(destination.endpoints))
        return destination

    def known(self) -> list[Destination]:
        """Return those of upstream entities that have their health checked or had requests."""
        return list(self._of_upstreams.values())

    def _to(self, target: Target) -> Destination:
        destination = self._direct.get(target)
        if destination is None:
            destination = self._direct[target] = Destination(self._resolver)
            destination.lead_to([target])
        return destination

    def use(self, snapshot: Snapshot) -> None:
        """Let all follow a new snapshot, a few at a time; those in use follow at once, by `of`."""
        before, self.snapshot = self.snapshot, snapshot
        if snapshot.upstreams is before.upstreams:
            return
        is_sweeping = self._unswept is not None
        self._unswept = chain(list(self._of_upstreams), snapshot.upstreams)
        if not is_sweeping:
            self._loop.call_soon(self._sweep)

    def _sweep(self) -> None:
        """Bring some up to date. Where health is checked, that begins before the first request."""
        assert self._unswept is not None  # noqa: S101 - or this would not be called
        until = perf_counter() + _SWEEP_S
        for id_ in self._unswept:
            self._bring_up_to_date(id_)
            if perf_counter() > until:
                self._loop.call_soon(self._sweep)
                return
        self._unswept = None

    def _bring_up_to_date(self, id_: UUID) -> None:
        upstream, is_known = self.snapshot.upstreams.get(id_), id_ in self._of_upstreams
        if upstream is None and is_known:
            self._of_upstreams.pop(id_).leave()
        elif upstream is not None and (is_known or upstream.health_checks is not None):
            self.of_upstream(upstream)

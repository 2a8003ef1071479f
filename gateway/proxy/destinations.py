"""Where requests of services go at the moment: what configuration and DNS say, together.

Destinations outlive snapshots, as what is known of their endpoints does: the place in a turn, tries
in flight, latencies. One of an upstream entity lasts as long as that; services whose host names
none share one for each host and port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from time import perf_counter
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from immutables import Map

from gateway.balancing import Balancing, Group, Member
from gateway.proxy import errors
from gateway.proxy.name_lookup import Address
from gateway.proxy.resolver import Name, Resolver
from gateway.snapshot import Service, Snapshot, Target, Upstream
from gateway.snapshot.compiled import host_headers

_SWEPT_AT_ONCE = 32

_DIRECT = Balancing()


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
        "_host_header",
        "_members",
        "_names",
        "_resolver",
        "_targets",
        "_use_srv_name",
        "_waiters",
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
        self.due_at = inf

    # -- what the configuration says

    def follow(self, upstream: Upstream) -> None:
        """Be what an upstream entity says, if that is news."""
        if upstream is self.upstream or upstream == self.upstream:
            return
        self.upstream = upstream
        self._host_header = upstream.host_header
        self._use_srv_name = upstream.use_srv_name
        self.rebalance(upstream.balancing)
        self.lead_to(list(upstream.targets.values()))

    def lead_to(self, targets: Sequence[Target]) -> None:
        """Have these targets."""
        self._targets = targets
        hosts = {target.host for target in targets if target.address is None}
        self._names = {host: self._resolver.name(host) for host in hosts}
        self._take()

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
        self.due_at = min((name.fresh_until for name in names if name.lookup is None), default=inf)
        members = [member for target in self._targets for member in self._behind(target, now)]
        if members != self._members:
            self._members = members
            self.arrange(members)

    def _behind(self, target: Target, now: float) -> Iterator[Member]:
        """Yield the members that a target stands for."""
        if target.address is not None:
            yield self._member(target, Address(target.address))
        else:
            for address in self._names[target.host].addresses(now):
                yield self._member(target, address)

    def _member(self, target: Target, address: Address) -> Member:
        port = address.port or target.port
        weight = address.weight if address.weight and target.weight else target.weight
        srv_name = address.srv_name if self._use_srv_name else None
        name = self._host_header or srv_name or target.host
        return Member(target.host, address.address, port, weight, host_headers(name, port))


class Destinations:
    """All destinations of a node."""

    def __init__(self, resolver: Resolver, loop: asyncio.AbstractEventLoop) -> None:
        self._resolver = resolver
        self._loop = loop
        self.nowhere = Destination(resolver)
        self._of_upstreams: dict[UUID, Destination] = {}
        self._direct: WeakValueDictionary[Target, Destination] = WeakValueDictionary()
        self._upstreams: Map[UUID, Upstream] = Map()
        self._unswept: list[UUID] = []

    def of(self, service: Service, snapshot: Snapshot) -> Destination:
        """Return where the requests of a service go by ``snapshot``, the current one."""
        upstream = snapshot.upstream_of(service)
        return self._to(service.direct) if upstream is None else self.of_upstream(upstream)

    def of_upstream(self, upstream: Upstream) -> Destination:
        """Return the destination of an upstream entity of the current snapshot."""
        destination = self._of_upstreams.get(upstream.id)
        if destination is None:
            destination = Destination(self._resolver, upstream.balancing)
            self._of_upstreams[upstream.id] = destination
        destination.follow(upstream)
        return destination

    def _to(self, target: Target) -> Destination:
        destination = self._direct.get(target)
        if destination is None:
            destination = self._direct[target] = Destination(self._resolver)
            destination.lead_to([target])
        return destination

    def use(self, snapshot: Snapshot) -> None:
        """Let all follow a new snapshot, a few at a time; those in use follow at once, by `of`."""
        self._upstreams = snapshot.upstreams
        is_sweeping = bool(self._unswept)
        self._unswept = list(self._of_upstreams)
        if self._unswept and not is_sweeping:
            self._loop.call_soon(self._sweep)

    def _sweep(self) -> None:
        for id_ in _last(self._unswept, _SWEPT_AT_ONCE):
            upstream = self._upstreams.get(id_)
            if upstream is None:
                del self._of_upstreams[id_]
            else:
                self._of_upstreams[id_].follow(upstream)
        if self._unswept:
            self._loop.call_soon(self._sweep)


def _last(ids: list[UUID], most: int) -> Iterable[UUID]:
    """Take the last few out of a list."""
    taken = ids[-most:]
    del ids[-most:]
    return taken

"""The plugin itself: sees what is left, lets the service say what it used, and counts that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, isfinite
from typing import Any

from gateway.access_log import Record
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.counter_store import CounterStoreError, Key, ScopeKey
from gateway.plugins.lines import removal
from gateway.plugins.rate_limiting.common import CommonCounters
from gateway.plugins.rate_limiting.counters import Scope
from gateway.plugins.rate_limiting.identifiers import identify_by
from gateway.plugins.rate_limiting.limiting import UNCOUNTED
from gateway.plugins.rate_limiting.quotas import Quota
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.plugins.response import Response
from gateway.plugins.response_ratelimiting.config import Limits

MOST_AT_ONCE = 1_000_000_000
"""What a single response can use; more counts as that."""

_NOTE = "response-ratelimiting"


class Usage:
    """What is known of a request: whose it is, what was left when it came, what it has used.

    ``lefts`` are those of all quotas, None while they cannot be known.
    """

    __slots__ = ("costs", "key", "lefts")

    def __init__(self, key: Key, lefts: Sequence[int] | None) -> None:
        self.key = key
        self.lefts = lefts
        self.costs: Mapping[str, int] = {}


class NamedLimit:
    """A limit with its quotas, one for each period; ``place`` is theirs among all quotas."""

    def __init__(self, name: str, quotas: Sequence[Quota], before: int) -> None:
        self.name = name
        self.quotas = quotas
        self.place = slice(before, before + len(quotas))
        self.refusal = refuse(429, f"API rate limit exceeded for '{name}'")


class ResponseRateLimiting(Plugin):
    """Holds back the responses of those who have used too much."""

    name = "response-ratelimiting"
    priority = 900

    class Config(Limits):
        """How much of what may be used by whom."""

    config: Config
    shared: CommonCounters

    def __init__(self, config: Config, use: Use, shared: CommonCounters) -> None:
        super().__init__(config, use, shared)
        self._settler = None if config.policy == "local" else shared.settler(config)
        self._counters = self._settler.ledger.counters if self._settler else shared.local
        self._count = self._settler.ledger.count if self._settler else shared.local.add
        self._identify = identify_by(config.limit_by)
        self._limits: list[NamedLimit] = []
        self._quotas: list[Quota] = []
        for name, limits in config.limits.items():
            quotas = [Quota(period, limit) for period, limit in limits.limits]
            self._limits.append(NamedLimit(name, quotas, len(self._quotas)))
            self._quotas += quotas
        self._scopes: list[Scope] = []
        self._template = _template(self._limits)
        self._told_by_others = removal(tuple(_names(self._limits)))
        self.access: Callable[[Request], Any] = self._ask if config.policy == "redis" else self._see

    @classmethod
    def share(cls, node: NodeServices) -> CommonCounters:
        """Return the counters of the node."""
        return CommonCounters(node)

    def set_up(self) -> None:
        """Find the counters of each limit, as the object before this one has left them."""
        for limit in self._limits:
            scope = self._counters.enter(self._scope_key(limit))
            self._scopes.append(scope)
            for quota in limit.quotas:
                quota.window = scope.window(quota.period)
        if self._settler is not None:
            self._settler.enter()

    def clean_up(self) -> None:
        """Need them no more."""
        if self._settler is not None:
            self._settler.leave()
        for limit in self._limits:
            self._counters.leave(self._scope_key(limit))

    def _scope_key(self, limit: NamedLimit) -> ScopeKey:
        return ScopeKey(self.use.route_id, self.use.service_id, limit.name)

    # -- on the way there

    def _see(self, request: Request) -> Reply | None:
        """Note what is left as far as this node knows."""
        self._turn()
        key = self._identify(request)
        if self._settler is not None:
            if self._settler.is_away:
                return self._go_without(request, key)
            for quota in self._quotas:
                self._count(quota.window, key, 0)  # to hear of the others by the next time
        used = [quota.window.counts.get(key, 0) for quota in self._quotas]
        return self._consider(request, key, used)

    async def _ask(self, request: Request) -> Reply | None:
        """Note what is left as far as all nodes know."""
        assert self._settler is not None  # noqa: S101 - so it was made
        self._turn()
        key = self._identify(request)
        try:
            totals = await self._settler.add([q.window.so_many(key, 0) for q in self._quotas])
        except CounterStoreError:
            return self._go_without(request, key)
        return self._consider(request, key, [used or 0 for used in totals.counted])

    def _turn(self) -> None:
        now = self._counters.clock()
        for scope in self._scopes:
            scope.turn(now)

    def _consider(self, request: Request, key: Key, used: Sequence[int]) -> Reply | None:
        lefts = [quota.limit - so_much for quota, so_much in zip(self._quotas, used, strict=True)]
        request.context[_NOTE] = Usage(key, lefts)
        if self.config.block_on_first_violation:
            for limit in self._limits:
                if min(lefts[limit.place]) <= 0:
                    return limit.refusal
        return None

    def _go_without(self, request: Request, key: Key) -> Reply | None:
        if not self.config.fault_tolerant:
            return UNCOUNTED
        request.context[_NOTE] = Usage(key, None)
        return None

    # -- on the way back

    def header_filter(self, request: Request, response: Response) -> None:
        """Tell the client what is left, and hold back what it may not have."""
        told = response.headers(self.config.header_name)
        if told:
            response.remove_header(self.config.header_name)
        usage: Usage | None = request.context.get(_NOTE)
        if usage is None:
            return
        usage.costs = _costs(told)
        lefts, costs = usage.lefts, usage.costs
        if lefts is None:
            return
        if not self.config.hide_client_headers:
            self._tell(response, lefts, costs)
        if costs and any(
            limit.name in costs and min(lefts[limit.place]) <= 0 for limit in self._limits
        ):
            usage.costs = {}
            response.status = 429
            response.drop_body()

    def _tell(self, response: Response, lefts: Sequence[int], costs: Mapping[str, int]) -> None:
        numbers = []
        for limit in self._limits:
            of_limit, cost = lefts[limit.place], costs.get(limit.name, 0)
            numbers += [max(0, left - cost) for left in of_limit]
            numbers.append(max(0, min(of_limit)))
        lines = self._told_by_others.sub(b"", response.lines)
        response.lines = lines + self._template % tuple(numbers)

    def log(self, request: Request, record: Record) -> None:
        """Count what was used."""
        del record
        usage: Usage | None = request.context.get(_NOTE)
        if usage is None or not usage.costs:
            return
        self._turn()
        for limit in self._limits:
            if limit.name in usage.costs:
                for quota in limit.quotas:
                    self._count(quota.window, usage.key, usage.costs[limit.name])


def _template(limits: Sequence[NamedLimit]) -> bytes:
    """Return the lines for clients, which take what is left in each period, and the least."""
    lines = []
    for limit in limits:
        for quota in limit.quotas:
            of_period = f"{limit.name}-{quota.period.name}"
            lines.append(f"\r\nX-RateLimit-Limit-{of_period}: {quota.limit}")
            lines.append(f"\r\nX-RateLimit-Remaining-{of_period}: %d")
        lines.append(f"\r\nX-RateLimit-Remaining-{limit.name}: %d")
    return "".join(lines).encode()


def _names(limits: Sequence[NamedLimit]) -> Iterator[str]:
    """Yield the names of all headers that tell of limits."""
    for limit in limits:
        yield f"X-RateLimit-Remaining-{limit.name}"
        for quota in limit.quotas:
            for what in ("Limit", "Remaining"):
                yield f"X-RateLimit-{what}-{limit.name}-{quota.period.name}"


def _costs(told: Sequence[str]) -> Mapping[str, int]:
    """Return what a service has used, by the name of the limit; what is no such thing is nothing.

    Fractions are rounded up.
    """
    costs = {}
    for part in ",".join(told).split(","):
        name, _, amount = part.partition("=")
        try:
            number = float(amount)
        except ValueError:
            continue
        if number > 0 and isfinite(number):
            costs[name.strip()] = min(ceil(number), MOST_AT_ONCE)
    return costs

"""The responses that a node keeps, by key: bounded in bytes, the least recently used go first.

Those that are over are freed in the background, a few at a time, as all are when everything is
purged: there may be very many.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.commands import Command
from gateway.plugins.proxy_cache.keys import KnownKeys

if TYPE_CHECKING:
    from gateway.proxy.http1 import ResponseHead

PURGE = "proxy-cache.purge"
"""The command to forget a response, its ``key`` among the arguments, or all of them."""

LARGEST_PART = 64
"""One response takes at most this part of the store."""

RECORDED_PART = 4
"""Those that are still coming take together at most this part, on top of it."""

_OVERHEAD_BYTES = 1_000
_HEAD_COPIES = 2

_SWEEP_EVERY_S = 5
_MOST_SWEEPS_AHEAD = 720
_FREED_AT_ONCE = 200


@dataclass(slots=True, eq=False)
class Entry:
    """A response that is kept until ``gone_at``; times are readings of the store's clock.

    ``made_at`` is when the service made it, or a cache behind the gateway got it; it is fresh for
    ``lifetime_s`` from then on. ``timestamp`` is when it came, in seconds since the epoch. ``size``
    is about what it takes in memory, in bytes.
    """

    head: ResponseHead
    body: bytes
    plugin_id: UUID
    made_at: float
    lifetime_s: float
    gone_at: float
    is_for_all: bool
    may_be_stale: bool
    timestamp: int
    size: int
    sweep: int = field(init=False)
    """The number of the sweep that looks whether it is over."""


class Counts:
    """How many requests had which outcome."""

    __slots__ = ("bypass", "hit", "miss", "refresh")

    def __init__(self) -> None:
        self.hit = self.miss = self.refresh = self.bypass = 0


class ResponseStore:
    """What all instances of proxy-cache on a node keep, in at most ``limit_bytes``.

    ``purges`` counts how often something was purged: what was asked for before may be outdated.
    """

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.counts = Counts()
        self.known_keys = KnownKeys()
        self.purges = 0
        self.used_bytes = 0
        self.evictions = 0
        self.entry_limit_bytes = limit_bytes // LARGEST_PART
        self._limit_bytes = limit_bytes
        self._recorded_bytes = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._due: dict[int, set[bytes]] = {}
        self._purged: list[OrderedDict[bytes, Entry] | set[bytes]] = []

    def __len__(self) -> int:
        """Return how many responses there are."""
        return len(self._entries)

    # -- what proxy-cache does

    def find(self, key: bytes, now: float) -> Entry | None:
        """Return what is kept under a key."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.gone_at <= now:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def keep(self, key: bytes, entry: Entry) -> None:
        """Keep a response in place of what there was under its key, as far as there is room."""
        if key in self._entries:
            self._remove(key)
        if entry.size > self.entry_limit_bytes:
            return
        while self.used_bytes + entry.size > self._limit_bytes:
            self._remove(next(iter(self._entries)))
            self.evictions += 1
        self._entries[key] = entry
        self.used_bytes += entry.size
        self._file(key, entry, self.clock())

    def reserve(self, size: int) -> bool:
        """Make room for bytes of a response that is still coming; return whether there is some."""
        if self._recorded_bytes + size > self._limit_bytes // RECORDED_PART:
            return False
        self._recorded_bytes += size
        return True

    def release(self, size: int) -> None:
        """Hear that these bytes are not held any more."""
        self._recorded_bytes -= size

    # -- what the Admin API wants

    def look_at(self, key: bytes, plugin_id: UUID | None = None) -> Entry | None:
        """Return what is kept under a key, of a plugin if one is named; it counts as no use."""
        entry = self._entries.get(key)
        if entry is None or entry.gone_at <= self.clock():
            return None
        return entry if plugin_id in (None, entry.plugin_id) else None

    def on_purge(self, command: Command) -> None:
        """Carry out a purge: of one response, or of all."""
        key: Any = command.arguments.get("key")
        if isinstance(key, str):
            self.purge(key.encode(errors="replace"), command.subject)
        elif key is None and command.subject is None:
            self.purge_all()

    def purge(self, key: bytes, plugin_id: UUID | None = None) -> None:
        """Forget what is kept under a key, and what is just coming."""
        self.purges += 1
        if self.look_at(key, plugin_id) is not None:
            self._remove(key)

    def purge_all(self) -> None:
        """Forget all there is, and what is just coming."""
        self.purges += 1
        self._purged += [self._entries, *self._due.values()]
        self._entries = OrderedDict()
        self._due = {}
        self.used_bytes = 0

    # -- in the background

    async def sweep(self) -> None:
        """Free what is over, time and again."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            for _ in iter(self.free_some, False):
                await asyncio.sleep(0)

    def free_some(self) -> bool:
        """Free some of what is over; return whether there is more."""
        if self._purged:
            pile = self._purged[-1]
            pop = pile.pop if isinstance(pile, set) else pile.popitem
            for _ in range(min(_FREED_AT_ONCE, len(pile))):
                pop()
            if not pile:
                self._purged.pop()
            return True
        return self._remove_some_due()

    def _remove_some_due(self) -> bool:
        now = self.clock()
        sweep = min(self._due, default=None)
        if sweep is None or sweep * _SWEEP_EVERY_S > now:
            return False
        for key in list(islice(self._due[sweep], _FREED_AT_ONCE)):
            entry = self._entries[key]
            if entry.gone_at <= now:
                self._remove(key)
            else:
                self._unfile(key, entry)
                self._file(key, entry, now)
        return True

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key)
        self.used_bytes -= entry.size
        self._unfile(key, entry)

    def _file(self, key: bytes, entry: Entry, now: float) -> None:
        """Have a sweep look at an entry: when it is over, or before, if that is far ahead."""
        latest = int(now // _SWEEP_EVERY_S) + _MOST_SWEEPS_AHEAD
        entry.sweep = min(int(entry.gone_at // _SWEEP_EVERY_S) + 1, latest)
        self._due.setdefault(entry.sweep, set()).add(key)

    def _unfile(self, key: bytes, entry: Entry) -> None:
        due = self._due[entry.sweep]
        due.remove(key)
        if not due:
            del self._due[entry.sweep]

    # -- what it tells

    def metrics(self) -> Iterable[Metric]:
        """Return what `/metrics` tells of it."""
        requests = CounterMetricFamily(
            "proxy_cache_requests",
            "Requests by what the cache did: hit, miss, refresh (kept, but not fresh enough) or "
            "bypass.",
            labels=["status"],
        )
        for status in Counts.__slots__:
            requests.add_metric([status], getattr(self.counts, status))
        yield requests
        yield CounterMetricFamily(
            "proxy_cache_evictions",
            "Responses that made room for others before their time.",
            value=self.evictions,
        )
        yield GaugeMetricFamily("proxy_cache_entries", "Responses kept.", value=len(self))
        yield GaugeMetricFamily(
            "proxy_cache_bytes", "About what they take in memory.", value=self.used_bytes
        )


def size_of(head: bytes, body: bytes) -> int:
    """Return about what a response takes in memory."""
    return _HEAD_COPIES * len(head) + len(body) + _OVERHEAD_BYTES

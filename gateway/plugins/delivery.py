"""Queues of entries that go to somewhere else: in batches, tried again, bounded.

The queue record of plugins.md section 5.17. What waits is in memory: when there is no room for an
entry the oldest is dropped; a batch that cannot be delivered in time is dropped too. Both are
counted, and told in the log. A worker comes with the first entry, and goes when none has come for a
while; when the node stops it has a moment to deliver what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Protocol
from weakref import WeakValueDictionary

import structlog
from prometheus_client.core import Metric
from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.rules import Between, MoreThan, OneOf
from gateway.entities.types import Number, WholeNumber
from gateway.plugins.contract import NodeServices
from gateway.plugins.delivery_counts import NO_ROOM, STOPPED, UNDELIVERED, DeliveryCounts

MOST_AT_ONCE = 100
"""Deliveries at the same time where their number is not limited."""

MOST_BYTES = 67_108_864
"""What waits at most where ``max_bytes`` does not say."""

NO_RETRY = -1

_SILENCE_S = 10.0
_FAREWELL_S = 1.5

_log = structlog.get_logger(__name__)


class Terms(Record):
    """How entries are queued."""

    max_batch_size: Annotated[WholeNumber, Between(1, 1_000_000)] = Field(
        default=1, description="Most entries that are sent together."
    )
    max_coalescing_delay: Annotated[Number, Between(0, 3600)] = Field(
        default=1, description="Seconds that a batch may wait until it is full."
    )
    max_entries: Annotated[WholeNumber, Between(1, 1_000_000)] = Field(
        default=10_000, description="Most entries that wait; then the oldest is dropped."
    )
    max_bytes: Annotated[WholeNumber, Between(1, 2**53)] | None = Field(
        default=None,
        description=f"Most bytes of entries that wait; null: {MOST_BYTES // 2**20} MiB.",
    )
    max_retry_time: Annotated[Number, Between(NO_RETRY, 2**31)] = Field(
        default=60,
        description="Seconds for which a batch is tried again before it is dropped; -1: never.",
    )
    initial_retry_delay: Annotated[Number, MoreThan(0), Between(0, 1_000_000)] = Field(
        default=0.01, description="Seconds before the second try; before each further one twice."
    )
    max_retry_delay: Annotated[Number, MoreThan(0), Between(0, 1_000_000)] = Field(
        default=60, description="Most seconds between two tries."
    )
    concurrency_limit: Annotated[WholeNumber, OneOf(-1, 1)] = Field(
        default=1,
        description=f"1: one batch after the other; -1: each entry by itself, up to {MOST_AT_ONCE} "
        "at a time.",
    )


class DeliveryError(Exception):
    """A batch has not arrived; the message says why."""


class Sender(Protocol):
    """The way to where entries go."""

    async def send(self, entries: Sequence[bytes]) -> None:
        """Deliver a batch, within a deadline. Raises DeliveryError."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


class DeliveryQueue:
    """Entries on their way to ``place``; a worker without any for ``idle_s`` ends."""

    def __init__(
        self,
        node: NodeServices,
        counts: DeliveryCounts,
        place: str,
        terms: Terms,
        new_sender: Callable[[], Sender],
        *,
        idle_s: float,
    ) -> None:
        self._node = node
        self._counts = counts
        self._dropped = 0
        self._place = place
        self._terms = terms
        self._new_sender = new_sender
        self._idle_s = idle_s
        self._is_parallel = terms.concurrency_limit != 1
        self._batch_size = 1 if self._is_parallel else terms.max_batch_size
        self._limit_bytes = MOST_BYTES if terms.max_bytes is None else terms.max_bytes
        self._entries: deque[bytes] = deque()
        self._bytes = 0
        self._workers = 0
        self._idle: list[asyncio.Future[None]] = []
        self._filling: asyncio.Future[None] | None = None
        self._said_dropped_at = -_SILENCE_S
        self._problem = ""

    def put(self, entry: bytes) -> None:
        """Have an entry delivered, if need be in place of older ones."""
        self._counts.taken += 1
        if len(entry) > self._limit_bytes:
            self._drop(1, NO_ROOM, "an entry is larger than all that may wait")
            return
        entries = self._entries
        while entries and (
            len(entries) >= self._terms.max_entries or self._bytes + len(entry) > self._limit_bytes
        ):
            self._bytes -= len(entries.popleft())
            self._drop(1, NO_ROOM, "they come faster than they can be delivered")
        entries.append(entry)
        self._bytes += len(entry)
        self._wake()

    def _wake(self) -> None:
        if self._filling is not None:
            if len(self._entries) >= self._batch_size:
                _set(self._filling)
        elif self._idle:
            _set(self._idle.pop())
        elif self._workers < (MOST_AT_ONCE if self._is_parallel else 1):
            self._workers += 1
            self._node.begin(f"delivery to {self._place}", self._work())

    # -- the worker

    async def _work(self) -> None:
        sender = self._new_sender()
        try:
            while await self._have_entries():
                await self._fill()
                await self._deliver(sender, self._take())
        except asyncio.CancelledError:
            await self._say_farewell(sender)
            raise
        finally:
            self._workers -= 1
            await sender.close()

    async def _have_entries(self) -> bool:
        """Wait for an entry; tell whether one has come in time."""
        if self._entries:
            return True
        waiting = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._idle_s):
                await waiting
        if waiting in self._idle:
            self._idle.remove(waiting)
        return bool(self._entries) or not waiting.cancelled()

    async def _fill(self) -> None:
        """Wait until there is a full batch, but not too long."""
        if self._batch_size == 1 or len(self._entries) >= self._batch_size:
            return
        self._filling = asyncio.get_running_loop().create_future()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._terms.max_coalescing_delay):
                    await self._filling
        finally:
            self._filling = None

    def _take(self) -> list[bytes]:
        entries = self._entries
        batch = [entries.popleft() for _ in range(min(len(entries), self._batch_size))]
        self._bytes -= sum(map(len, batch))
        return batch

    async def _deliver(self, sender: Sender, batch: list[bytes]) -> None:
        """Try to deliver a batch, until it has arrived or its time is over."""
        if not batch:
            return
        terms = self._terms
        give_up_at = time.monotonic() + terms.max_retry_time
        delay_s = float(terms.initial_retry_delay)
        try:
            while not await self._arrives(sender, batch):
                if terms.max_retry_time == NO_RETRY or time.monotonic() + delay_s > give_up_at:
                    self._drop(len(batch), UNDELIVERED, self._problem)
                    return
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, terms.max_retry_delay)
        except asyncio.CancelledError:
            self._entries.extendleft(reversed(batch))  # rather told twice than never
            raise

    async def _arrives(self, sender: Sender, batch: list[bytes]) -> bool:
        try:
            await sender.send(batch)
        except DeliveryError as error:
            if not self._problem:
                _log.warning("log entries do not arrive", place=self._place, reason=str(error))
            self._problem = str(error)
            return False
        if self._problem:
            self._problem = ""
            _log.info("log entries arrive again", place=self._place)
        self._counts.sent += len(batch)
        return True

    async def _say_farewell(self, sender: Sender) -> None:
        """Deliver what still waits, if that goes quickly."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                while self._entries:
                    batch = self._take()
                    if not await self._arrives(sender, batch):
                        self._entries.extendleft(reversed(batch))
                        break
        if self._entries:
            self._said_dropped_at = -_SILENCE_S
            self._drop(len(self._entries), STOPPED, self._problem or "the node has stopped")
            self._entries.clear()

    def _drop(self, number: int, cause: str, reason: str) -> None:
        self._counts.dropped[cause] += number
        self._dropped += number
        now = time.monotonic()
        if now - self._said_dropped_at >= _SILENCE_S:
            self._said_dropped_at = now
            _log.warning(
                "log entries are dropped", place=self._place, dropped=self._dropped, reason=reason
            )


def _set(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class DeliveryQueues:
    """The queues of one plugin on a node; those with the same parameters are one."""

    def __init__(self, node: NodeServices, plugin: str) -> None:
        self._node = node
        self._counts = DeliveryCounts(plugin)
        self._known: WeakValueDictionary[str, DeliveryQueue] = WeakValueDictionary()

    def queue(
        self,
        parameters: str,
        place: str,
        terms: Terms,
        new_sender: Callable[[], Sender],
        idle_s: float,
    ) -> DeliveryQueue:
        """Return the queue of these parameters, a new one if it is the first."""
        found = self._known.get(parameters)
        if found is None:
            place = f"{self._counts.plugin} {place}"
            found = DeliveryQueue(self._node, self._counts, place, terms, new_sender, idle_s=idle_s)
            self._known[parameters] = found
        return found

    def refuse(self) -> None:
        """Count an entry that there is no room for before it comes to a queue."""
        self._counts.taken += 1
        self._counts.dropped[NO_ROOM] += 1

    def metrics(self) -> Iterable[Metric]:
        """Return what became of all entries."""
        return self._counts.metrics()

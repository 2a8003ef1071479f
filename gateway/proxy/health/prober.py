"""When probes begin, and how many there are at once: of a node, and of each upstream entity."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

_BEGUN_AT_ONCE = 8
"""To begin a probe takes some 0.1 ms; then requests have their turn."""


class Room:
    """How many probes of one upstream entity are going on, and who waits for one of them to end."""

    __slots__ = ("taken", "waiting")

    def __init__(self) -> None:
        self.taken = 0
        self.waiting: deque[Probed] = deque()


class Probed(Protocol):
    """An address to be probed. At most ``concurrency`` of those in one ``room`` are at once."""

    room: Room
    task: asyncio.Task[None] | None

    @property
    def concurrency(self) -> int:
        """How many there may be."""
        ...

    @property
    def is_wanted(self) -> bool:
        """Whether anybody is interested still. Who is not may cancel the ``task``."""
        ...

    async def probe(self) -> None:
        """Probe it, in limited time."""
        ...


class Prober:
    """Probes whoever is due, in order, each in a task of its own."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._due: deque[Probed] = deque()
        self._probes: set[asyncio.Task[None]] = set()
        self._is_beginning = False

    @property
    def in_flight(self) -> int:
        """How many probes are going on."""
        return len(self._probes)

    def enter(self, probed: Probed) -> None:
        """Probe an address as soon as there is room."""
        room = probed.room
        if room.taken < probed.concurrency:
            room.taken += 1
            self._due.append(probed)
            self._begin_soon()
        else:
            room.waiting.append(probed)

    async def stop(self) -> None:
        """Give up all probes, and begin no more."""
        self._limit = 0
        probes = list(self._probes)
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def _begin_soon(self) -> None:
        if self._due and not self._is_beginning and len(self._probes) < self._limit:
            self._is_beginning = True
            asyncio.get_running_loop().call_soon(self._begin_some)

    def _begin_some(self) -> None:
        self._is_beginning = False
        for _ in range(_BEGUN_AT_ONCE):
            if not self._due or len(self._probes) >= self._limit:
                return
            self._begin(self._due.popleft())
        self._begin_soon()

    def _begin(self, probed: Probed) -> None:
        if not probed.is_wanted:
            self._leave(probed.room)
            return
        task = asyncio.get_running_loop().create_task(probed.probe(), name="probe")
        probed.task = task
        self._probes.add(task)
        task.add_done_callback(lambda done: self._end(done, probed.room))

    def _end(self, task: asyncio.Task[None], room: Room) -> None:
        self._probes.discard(task)
        self._leave(room)
        self._begin_soon()

    def _leave(self, room: Room) -> None:
        """Let the next of those who wait have the place that has become free."""
        room.taken -= 1
        while room.waiting and room.taken < room.waiting[0].concurrency:
            room.taken += 1
            self._due.append(room.waiting.popleft())

"""Clients that keep asking one node what it serves, and record what its answers show."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.lab.faults.history import Probe, Recorder
from gateway.lab.faults.registers import request_path, seen

TIMEOUT_S = 2.0
"""A node that is paused does not answer; what is asked after this waits on a new connection."""

PATIENT_TIMEOUT_S = 8.0
"""For requests that a node may hold back until it has the version they ask for."""

_HEAD = re.compile(rb"(?is)HTTP/1\.1 (?P<status>\d{3}) .*?\r\nContent-Length: *(?P<length>\d+)\r\n")
_CLOSES = re.compile(rb"(?i)\r\nConnection: *close\r\n")


@dataclass(slots=True)
class Prober:
    """Asks a node over a kept-alive connection, which is opened again when it has failed.

    ``incarnation`` tells how often the node's process has been started. ``min_version`` is asked
    before each request for the version to demand; None demands nothing.
    """

    node: str
    address: str
    incarnation: Callable[[], int]
    recorder: Recorder
    min_version: Callable[[], int] | None = None
    _connection: _Connection | None = None

    async def run(self, keys: Sequence[str], dice: random.Random, pause_s: float) -> None:
        """Ask for keys at random, with a pause in between, until cancelled."""
        try:
            while True:
                await asyncio.sleep(dice.uniform(0.5, 1.5) * pause_s)
                await self.ask(dice.choice(keys))
        finally:
            self.close()

    async def ask(self, key: str) -> Probe | None:
        """Ask for a key, and record and return what came of it; None if nobody could be asked."""
        connection = await self._connected()
        if connection is None:
            return None
        min_version = None if self.min_version is None else self.min_version()
        timeout_s = TIMEOUT_S if min_version is None else PATIENT_TIMEOUT_S
        sent_at = self.recorder.now()
        status, body = await connection.get(request_path(key), min_version, timeout_s)
        probe = Probe(
            sent_at,
            self.recorder.now(),
            self.node,
            connection.incarnation,
            key,
            status,
            {} if status is None else seen(key, status, body),
            min_version,
        )
        self.recorder.record(probe)
        return probe

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connected(self) -> _Connection | None:
        if self._connection is None or not self._connection.is_open:
            incarnation = self.incarnation()
            self._connection = await _Connection.open(self.address, incarnation)
            if incarnation != self.incarnation():  # nobody can say which process it leads to
                self.close()
        return self._connection


class _Connection:
    """HTTP/1.1, as little of it as a probe needs: a client library takes ten times as long."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incarnation: int
    ) -> None:
        self.is_open = True
        self.incarnation = incarnation
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: str, incarnation: int) -> _Connection | None:
        """Connect; return None if that fails."""
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                streams = await asyncio.open_connection(host, int(port))
        except (OSError, TimeoutError):
            return None
        return cls(*streams, incarnation)

    async def get(
        self, path: str, min_version: int | None, timeout_s: float
    ) -> tuple[int | None, str]:
        """Return the status and body of the answer; no status, and no connection, if none came."""
        asked = "" if min_version is None else f"X-Gateway-Min-Version: {min_version}\r\n"
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: probe\r\n{asked}\r\n".encode())
        try:
            async with asyncio.timeout(timeout_s):
                head = await self._reader.readuntil(b"\r\n\r\n")
                found = _HEAD.match(head)
                body = await self._reader.readexactly(int(found["length"]) if found else 0)
        except (OSError, EOFError, TimeoutError):
            found, body = None, b""
        if found is None or _CLOSES.search(head):
            self.close()
        return (int(found["status"]) if found else None), body.decode("latin-1")

    def close(self) -> None:
        """Close the connection at once."""
        self.is_open = False
        self._writer.transport.abort()

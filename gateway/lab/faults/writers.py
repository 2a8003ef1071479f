"""Who changes the configuration during a run: through the Admin APIs, and by SQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import unquote

import httpx
import psycopg

from gateway.lab.faults import ledger, registers
from gateway.lab.faults.history import Answered, Barrier, Invoked, Outcome, Recorder, Values
from gateway.lab.faults.registers import KINDS, ROUTES, SERVICES, UPSTREAMS, register

ADMIN_TIMEOUT_S = 15.0
BARRIER_TIMEOUT = "2s"
"""Less than it takes until a silent node is not counted any more: some barriers do not hold."""

SQL_TIMEOUT_S = 15.0
RECONNECT_PAUSE_S = 0.2

DELETED = 0.2
"""Share of the writes to routes that delete."""

ROLLED_BACK = 0.1
"""Share of the SQL transactions that are rolled back."""

LONGEST_HOLD_S = 0.4
"""How long an SQL transaction may have been open when it comes to its changes."""


@dataclass(slots=True)
class Desk:
    """What all writers share: where they write to and where that is recorded.

    ``ended`` is set when they shall come to an end. ``newest`` is the newest version that any of
    them was told of.
    """

    recorder: Recorder
    keys: Sequence[str]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    newest: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def invoke(self, through: str, values: Values) -> int:
        """Record that a write is being sent; return its number."""
        write = next(self._numbers)
        self.recorder.record(Invoked(self.recorder.now(), write, through, values))
        return write

    def answer(
        self,
        write: int,
        outcome: Outcome,
        version: int | None = None,
        barrier: Barrier | None = None,
        said: str = "",
    ) -> None:
        """Record what became of it."""
        at = self.recorder.now()
        self.recorder.record(Answered(at, write, outcome, version, barrier, said))
        self.newest = max(self.newest, version or 0)

    async def rest(self, pause_s: float) -> None:
        """Wait, but not beyond the end."""
        try:
            async with asyncio.timeout(pause_s):
                await self.ended.wait()
        except TimeoutError:
            pass


@dataclass(frozen=True, slots=True)
class AdminWriter:
    """Changes one entity at a time through the Admin APIs of nodes, drawn by chance.

    ``numbers`` are its own. A ``barrier`` writer waits for the cluster.
    """

    desk: Desk
    http: httpx.AsyncClient
    admin_urls: Mapping[str, str]
    dice: random.Random
    numbers: Iterator[int]
    pause_s: float
    barrier: bool = False

    async def run(self) -> None:
        """Write until the end."""
        while not self.desk.ended.is_set():
            await self._write_something()
            await self.desk.rest(self.dice.uniform(0, 2) * self.pause_s)

    async def _write_something(self) -> None:
        dice = self.dice
        node = dice.choice(list(self.admin_urls))
        kind, key, number = dice.choice(KINDS), dice.choice(self.desk.keys), next(self.numbers)
        if kind == ROUTES and dice.random() < DELETED:
            await self._write(node, "DELETE", kind, key, None)
        else:
            await self._write(node, "PUT" if kind == ROUTES else "PATCH", kind, key, number)

    async def _write(self, node: str, method: str, kind: str, key: str, number: int | None) -> None:
        url = f"{self.admin_urls[node]}/{kind}/{key}"
        if self.barrier:
            url += f"?wait=cluster&timeout={BARRIER_TIMEOUT}"
        value = None if number is None else registers.value(kind, number)
        body = None if number is None else registers.fields(kind, key, number)
        write = self.desk.invoke(node, {register(kind, key): value})
        try:
            async with asyncio.timeout(ADMIN_TIMEOUT_S):
                response = await self.http.request(method, url, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self.desk.answer(write, Outcome.FAILED, said=_words(error))
        except (httpx.HTTPError, TimeoutError) as error:
            self.desk.answer(write, Outcome.UNKNOWN, said=_words(error))
        else:
            self._take(write, response)

    def _take(self, write: int, response: httpx.Response) -> None:
        """Note an answer; one of 5xx does not tell whether the write was committed."""
        if response.is_success:
            version = int(response.headers.get("X-Gateway-Config-Version", 0))
            self.desk.answer(write, Outcome.OK, version, barrier_told(response.headers))
        else:
            outcome = Outcome.FAILED if response.status_code < 500 else Outcome.UNKNOWN
            self.desk.answer(write, outcome, said=f"{response.status_code} {response.text}")


def barrier_told(headers: Mapping[str, str]) -> Barrier | None:
    """Return how far an answer says that its write has got, None if it does not say."""
    applied, slash, counted = headers.get("X-Gateway-Propagation", "").partition("/")
    if not slash:
        return None
    return Barrier(
        int(applied),
        int(counted),
        _names(headers.get("X-Gateway-Propagation-Behind", "")),
        _names(headers.get("X-Gateway-Propagation-Unseen", "")),
    )


class SqlWriter:
    """Changes several entities in one transaction, which may have been open for long by then.

    Its ``updated_at`` is the time when it began, as is the habit in SQL.
    """

    def __init__(
        self, desk: Desk, database_url: str, dice: random.Random, numbers: Iterator[int]
    ) -> None:
        self._desk = desk
        self._database_url = database_url
        self._dice = dice
        self._numbers = numbers

    async def run(self) -> None:
        """Write until the end; a connection that fails is opened again."""
        while not self._desk.ended.is_set():
            try:
                async with await ledger.connect(self._database_url) as connection:
                    while not self._desk.ended.is_set():
                        async with asyncio.timeout(SQL_TIMEOUT_S):
                            await self._transact(connection)
            except (psycopg.Error, TimeoutError):
                await self._desk.rest(RECONNECT_PAUSE_S)

    async def _transact(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Change some registers of a key, as one version. Raises psycopg.Error."""
        dice = self._dice
        key, number = dice.choice(self._desk.keys), next(self._numbers)
        kinds = dice.sample(KINDS, dice.randint(2, 3))
        values: Values = {register(kind, key): registers.value(kind, number) for kind in kinds}
        is_kept = dice.random() >= ROLLED_BACK
        await connection.execute("BEGIN")
        await self._desk.rest(dice.uniform(0, LONGEST_HOLD_S))
        write = self._desk.invoke("SQL", values)
        outcome, version = Outcome.FAILED, None
        try:
            version = await self._change(connection, kinds, key, number)
            if is_kept:
                outcome = Outcome.UNKNOWN
                await connection.execute("COMMIT")
                outcome = Outcome.OK
            else:
                await connection.execute("ROLLBACK")
        finally:
            self._desk.answer(write, outcome, version if outcome is Outcome.OK else None)

    async def _change(
        self, connection: psycopg.AsyncConnection[Any], kinds: Sequence[str], key: str, number: int
    ) -> int:
        """Make the changes; return the version that they will be, if committed."""
        for kind in kinds:
            parameters = {"key": key, **registers.fields(kind, key, number)}
            await connection.execute(_CHANGE[kind], parameters)
        (version,) = await _one(connection, "SELECT version FROM config_version")
        return int(version)


_CHANGE = {
    SERVICES: "UPDATE services SET path = %(path)s, updated_at = now() WHERE name = %(key)s",
    UPSTREAMS: "UPDATE upstreams SET host_header = %(host_header)s, updated_at = now() "
    "WHERE name = %(key)s",
    ROUTES: "INSERT INTO routes (name, paths, service_id) "
    "SELECT name, %(paths)s, id FROM services WHERE name = %(key)s "
    "ON CONFLICT (name) DO UPDATE SET paths = excluded.paths, updated_at = now()",
}


async def _one(connection: psycopg.AsyncConnection[Any], query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = await (await connection.execute(query)).fetchone()
    if row is None:
        raise psycopg.DataError(f"no row: {query}")
    return row


def _names(text: str) -> list[str]:
    return [unquote(name) for name in filter(None, map(str.strip, text.split(",")))]


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

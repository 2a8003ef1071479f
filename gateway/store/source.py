"""What sync reads: is there a newer version, and what does it consist of.

A connection of its own, so that sync never queues behind Admin API writes. Each load is one
REPEATABLE READ READ ONLY transaction, so that all of it belongs to one version.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from gateway.entities import VERSIONED, Row
from gateway.settings import NodeSettings
from gateway.store.connection import DEADLINE_MARGIN_S, ask, connect, is_cut, is_pooled
from gateway.store.errors import NO_VERSION, StoreUnavailable, translated
from gateway.store.tables import VERSIONED_TABLES

BATCH_ROWS = 100
"""Rows decoded in one go: a stop of the event loop of one to two milliseconds."""


@dataclass(frozen=True, slots=True)
class VersionMark:
    """A point in the history of the config.

    ``epoch`` is the database's, ``version`` counts committed change sets. ``committed_at`` is part
    of it because a database restored from a backup, or a replica promoted too early, gives the
    same numbers out again: two histories differ in when they committed a version.
    """

    epoch: UUID
    version: int
    committed_at: datetime


class FullLoadReason(StrEnum):
    """Why everything is loaded; the last three mean that the database is not as it was."""

    ASKED = "everything was asked for"
    LOG_TOO_SHORT = "the change log does not reach back"
    OTHER_EPOCH = "this is another database"
    WENT_BACK = "the version went back"
    OTHER_HISTORY = "the version was committed at another time"


@dataclass(slots=True)
class Batch:
    """At most BATCH_ROWS changes of one table: rows as they are now, and ids that are gone."""

    table: str
    rows: list[Row]
    deleted: list[UUID]


@dataclass(slots=True)
class Load:
    """What brings a snapshot to ``mark``: everything, or what changed since a given mark.

    ``batches`` is read once, inside the context it came from: parents before children, in a full
    load without deletions. Reading it raises StoreUnavailable. ``oldest_committed_at`` is the
    commit time of the oldest change set in the gap (of ``mark`` in a full load), ``read_at`` the
    database's clock when the load began.
    """

    kind: Literal["full", "changes"]
    mark: VersionMark
    oldest_committed_at: datetime
    read_at: datetime
    batches: AsyncIterator[Batch]
    reason: FullLoadReason | None = None

    @property
    def committed_at(self) -> datetime:
        """Commit time of the newest change set."""
        return self.mark.committed_at


_DECLARE = sql.SQL("DECLARE load NO SCROLL CURSOR FOR {}")
_FETCH = f"FETCH {BATCH_ROWS} FROM load"

_SEEN = "SELECT epoch, version, committed_at FROM config_version"

_HEAD = """
    SELECT epoch, version, committed_at, clock_timestamp() AS read_at,
        (SELECT committed_at FROM change_sets WHERE version = %(since)s) AS since_committed_at,
        (SELECT committed_at FROM change_sets WHERE version = %(since)s + 1) AS oldest_committed_at,
        (
            SELECT count(*) FROM change_sets WHERE version > %(since)s
            AND version <= config_version.version
        ) = version - %(since)s AS is_covered,
        (
            SELECT coalesce(jsonb_object_agg(kind, number), '{}')
            FROM (
                SELECT kind, count(*) AS number FROM changes WHERE version > %(since)s GROUP BY kind
            ) AS by_kind
        ) AS changes
    FROM config_version
"""


class DatabaseSource:
    """Reads versions and loads; for one task at a time.

    What is asked again and again is prepared on the server: to plan it takes longer than to run it.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._timeout_s = settings.database_statement_timeout_s + DEADLINE_MARGIN_S

    async def seen(self) -> VersionMark:
        """Return the newest version: one tiny query. Raises StoreUnavailable."""
        async with self._connected() as connection:
            return _mark(await self._one(connection, _SEEN))

    @asynccontextmanager
    async def load(self, since: VersionMark | None) -> AsyncIterator[Load | None]:
        """Open a load from ``since`` to the newest version, None if there is nothing newer.

        A full load if ``since`` is None or not a version this database's log reaches back to.
        Raises StoreUnavailable.
        """
        async with self._connected() as connection:
            await self._execute(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            head = await self._one(connection, _HEAD, since=since.version if since else None)
            reason = _full_load_reason(since, head)
            async with aclosing(self._batches(connection, since, head, reason)) as batches:
                yield None if _mark(head) == since else _load(head, reason, batches)
            await self._execute(connection, "COMMIT")

    async def close(self) -> None:
        """Close the connection; the next question opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lend the connection; whatever goes wrong, the next borrower gets a new one."""
        try:
            if self._connection is None or is_cut(self._connection):
                await self.close()
                self._connection = await self._connect()
            yield self._connection
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        with translated():
            connection = await connect(self._settings)
            try:
                if not await is_pooled(connection, self._timeout_s):
                    connection.prepare_threshold = 0
            except BaseException:
                await connection.close()
                raise
            return connection

    async def _batches(
        self,
        connection: psycopg.AsyncConnection[Any],
        since: VersionMark | None,
        head: Row,
        reason: FullLoadReason | None,
    ) -> AsyncGenerator[Batch]:
        for table in VERSIONED:
            number = head["changes"].get(table, 0)
            if reason or since is None:
                pages = self._pages(connection, _all_rows(table))
            elif number > BATCH_ROWS:
                pages = self._pages(connection, _changed_rows(table, sql.Literal(since.version)))
            elif number:
                pages = self._page(connection, _few_changed_rows(table), since.version)
            else:
                continue
            async with aclosing(pages):
                async for rows in pages:
                    yield _batch(table, rows)

    async def _pages(
        self, connection: psycopg.AsyncConnection[Any], query: sql.Composed
    ) -> AsyncGenerator[list[Row]]:
        """Yield rows, at most BATCH_ROWS at once."""
        await self._execute(connection, _DECLARE.format(query))
        while rows := await (await self._execute(connection, _FETCH)).fetchall():
            yield rows
        await self._execute(connection, "CLOSE load")

    async def _page(
        self, connection: psycopg.AsyncConnection[Any], query: str, since: int
    ) -> AsyncGenerator[list[Row]]:
        """Yield all rows at once, in a single round trip."""
        cursor = await self._execute(connection, query, prepare=True, since=since)
        yield await cursor.fetchall()

    async def _one(
        self, connection: psycopg.AsyncConnection[Any], query: str, **values: Any
    ) -> Row:
        row = await (await self._execute(connection, query, prepare=True, **values)).fetchone()
        if row is None:
            raise StoreUnavailable(NO_VERSION)
        return row

    async def _execute(
        self,
        connection: psycopg.AsyncConnection[Any],
        query: str | sql.Composed,
        *,
        prepare: bool = False,
        **values: Any,
    ) -> psycopg.AsyncCursor[Row]:
        cursor = connection.cursor(row_factory=dict_row)
        answer = cursor.execute(query, values or None, prepare=prepare)
        with translated():
            return await ask(connection, answer, self._timeout_s)


def _load(head: Row, reason: FullLoadReason | None, batches: AsyncIterator[Batch]) -> Load:
    mark = _mark(head)
    if reason:
        return Load("full", mark, mark.committed_at, head["read_at"], batches, reason)
    return Load("changes", mark, head["oldest_committed_at"], head["read_at"], batches)


def _mark(row: Row) -> VersionMark:
    return VersionMark(row["epoch"], row["version"], row["committed_at"])


def _full_load_reason(since: VersionMark | None, head: Row) -> FullLoadReason | None:
    if since is None:
        return FullLoadReason.ASKED
    if head["epoch"] != since.epoch:
        return FullLoadReason.OTHER_EPOCH
    if head["version"] < since.version:
        return FullLoadReason.WENT_BACK
    if head["since_committed_at"] not in (None, since.committed_at):
        return FullLoadReason.OTHER_HISTORY
    if head["since_committed_at"] is None or not head["is_covered"]:
        return FullLoadReason.LOG_TOO_SHORT
    return None


def _batch(table: str, rows: list[Row]) -> Batch:
    batch = Batch(table, [], [])
    for row in rows:
        changed_id = row.pop("changed_id", None)
        if row["id"] is None:
            batch.deleted.append(changed_id)
        else:
            batch.rows.append(row)
    return batch


def _all_rows(table: str) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {}").format(_columns(table), sql.Identifier(table))


def _changed_rows(table: str, since: sql.Composable) -> sql.Composed:
    return _CHANGED_ROWS.format(
        columns=_columns(table), table=sql.Identifier(table), kind=sql.Literal(table), since=since
    )


@cache
def _few_changed_rows(table: str) -> str:
    return _changed_rows(table, sql.Placeholder("since")).as_string()


_CHANGED_ROWS = sql.SQL("""
    SELECT changed_id, {columns} FROM (
        SELECT DISTINCT entity_id AS changed_id FROM changes
        WHERE version > {since} AND kind = {kind}
    ) AS changed
    LEFT JOIN {table} ON {table}.id = changed_id
""")


def _columns(table: str) -> sql.Composed:
    columns = VERSIONED_TABLES[table].columns
    return sql.SQL(", ").join(sql.Identifier(table, column.name) for column in columns)

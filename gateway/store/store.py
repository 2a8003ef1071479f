"""The database as the Admin API and the node see it: transactions, heartbeats, the cluster.

A write through any node is one transaction that first locks the version row; the triggers in the
database do the rest (see the first migration).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.settings import NodeSettings
from gateway.store import nodes
from gateway.store.actor import Actor
from gateway.store.connection import DEADLINE_MARGIN_S, connect, cut, is_cut
from gateway.store.errors import NO_VERSION, StoreUnavailable, translated
from gateway.store.housekeeping import Housekeeping
from gateway.store.nodes import ClusterView, Heartbeat, NodeRow
from gateway.store.propagation import MEMBERS, Member
from gateway.store.session import IsolationLevel, Session
from gateway.store.transactions import ReadTransaction, WriteTransaction

__all__ = [
    "ClusterView",
    "Heartbeat",
    "IsolationLevel",
    "NodeRow",
    "ReadTransaction",
    "Store",
    "WriteTransaction",
]


RETURN_S = 1.0
"""How long a stop waits for connections that are in use."""


class Store:
    """The database behind a small pool of connections."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._engine: AsyncEngine | None = None
        self._opening: dict[asyncio.Task[Any] | None, psycopg.AsyncConnection[Any]] = {}
        self._housekeeping = Housekeeping(self._session, settings)
        self._tidying: asyncio.Task[None] | None = None
        self._users = 0  # who has a session, or is getting one
        self._nobody_uses_it = asyncio.Event()

    async def start(self) -> None:
        """Make the pool; connections are opened when they are needed, so nothing is asked yet.

        From now on the database is tidied up every now and then.
        """
        self._engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=self._connect,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # an error that is logged must not tell private keys
            pool_size=self._settings.database_pool_size,
            max_overflow=0,
            pool_timeout=self._settings.database_connect_timeout_s,
        )
        event.listen(self._engine.sync_engine, "checkout", _replace_if_cut)
        self._tidying = asyncio.create_task(self._housekeeping.run(), name="housekeeping")

    async def stop(self) -> None:
        """Close all connections, once those in use are given back; that is not waited for long.

        Work beside the requests may have one, as to note that a token was used.
        """
        tidying, self._tidying = self._tidying, None
        if tidying is not None:
            tidying.cancel()
            await asyncio.wait({tidying})
        engine, self._engine = self._engine, None
        if engine is not None:
            if self._users:
                self._nobody_uses_it.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETURN_S):
                        await self._nobody_uses_it.wait()
            await engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadTransaction]:
        """Open a view on the entities. It and its statements raise StoreUnavailable."""
        async with self._session("AUTOCOMMIT") as session:
            yield ReadTransaction(session)

    @asynccontextmanager
    async def write(self, actor: Actor | None = None) -> AsyncIterator[WriteTransaction]:
        """Open a write transaction, committed at the end of the block unless that raises.

        ``actor`` is who the audit log tells of.
        It and its statements raise StoreUnavailable. When the connection is lost during the
        commit, that error does not tell whether the transaction was committed.
        """
        async with self._session("READ COMMITTED") as session:
            transaction = WriteTransaction(session)
            await transaction.begin(actor)
            yield transaction
            await transaction.commit()

    def autocommit(self) -> AbstractAsyncContextManager[Session]:
        """Open a session whose statements each commit by themselves. It raises StoreError."""
        return self._session("AUTOCOMMIT")

    async def heartbeat(self, beat: Heartbeat) -> None:
        """Write what a node reports. Raises StoreUnavailable."""
        async with self._session("AUTOCOMMIT") as session:
            await session.execute(nodes.report(beat))

    async def join(self, beat: Heartbeat) -> None:
        """Write the first heartbeat of a node, in the place of those it succeeds.

        A node that was killed cannot take its row with it. Raises StoreUnavailable.
        """
        async with self._session("AUTOCOMMIT") as session:
            await session.execute(nodes.forget_predecessors(beat))
            await session.execute(nodes.report(beat, durable=True))

    async def forget(self, node_id: UUID) -> None:
        """Remove a node that has stopped from the cluster. Raises StoreUnavailable."""
        async with self._session("AUTOCOMMIT") as session:
            await session.execute(nodes.forget(node_id))

    async def cluster(self) -> ClusterView:
        """Return the newest version and all nodes, by name. Raises StoreUnavailable."""
        async with self._session("AUTOCOMMIT") as session:
            rows = (await session.execute(nodes.CLUSTER)).mappings().all()
        if not rows:
            raise StoreUnavailable(NO_VERSION)
        return nodes.view([dict(row) for row in rows])

    async def members(self) -> list[Member]:
        """Return all who serve traffic, with how far each has got. Raises StoreUnavailable."""
        async with self._session("AUTOCOMMIT") as session:
            rows = (await session.execute(MEMBERS)).mappings().all()
        return [Member(**row) for row in rows]

    async def tidy(self) -> None:
        """Tidy up now. What cannot be done is told in the log."""
        await self._housekeeping.tidy()

    @asynccontextmanager
    async def _session(self, isolation_level: IsolationLevel) -> AsyncIterator[Session]:
        engine = self._engine
        if engine is None:
            raise StoreUnavailable("the store is not started")
        self._users += 1
        try:
            session = await self._open(engine, isolation_level)
            try:
                yield session
            except BaseException:
                await session.abandon()
                raise
            finally:
                if self._engine is not engine:  # nobody would close it in a pool that is no more
                    await session.drop()
                await session.close()
        finally:
            self._users -= 1
            if not self._users:
                self._nobody_uses_it.set()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        """Open a connection for the pool, in whose hands it is once `_open` has succeeded."""
        connection = await connect(self._settings)
        self._opening[asyncio.current_task()] = connection
        return connection

    async def _open(self, engine: AsyncEngine, isolation_level: IsolationLevel) -> Session:
        try:
            return await self._check_out(engine, isolation_level)
        except BaseException:
            stray = self._opening.get(asyncio.current_task())
            if stray is not None:  # the pool drops it without a word when its set-up is cut short
                cut(stray)
                await stray.close()
            raise
        finally:
            self._opening.pop(asyncio.current_task(), None)

    async def _check_out(self, engine: AsyncEngine, isolation_level: IsolationLevel) -> Session:
        settings = self._settings
        with translated():
            async with asyncio.timeout(2 * settings.database_connect_timeout_s):
                connection = await engine.connect()
                try:
                    await connection.execution_options(isolation_level=isolation_level)
                    pooled = await connection.get_raw_connection()
                except BaseException:  # we are cancelled: nobody else would give it back
                    await connection.close()
                    raise
        driver: Any = pooled.driver_connection
        timeout_s = settings.database_statement_timeout_s + DEADLINE_MARGIN_S
        return Session(connection, driver, timeout_s)


def _replace_if_cut(connection: Any, *_: object) -> None:
    """Notice on checkout that the server closed a connection, without asking it each time."""
    if is_cut(connection.driver_connection):
        raise InvalidatePoolError

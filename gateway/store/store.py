"""The database as the Admin API and the node see it: transactions, heartbeats, the cluster.

A write through any node is one transaction that first locks the version row; the triggers in the
database do the rest (see the first migration).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import event, text
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.settings import NodeSettings
from gateway.store import nodes
from gateway.store.actor import Actor
from gateway.store.connection import DEADLINE_MARGIN_S, connect, is_cut
from gateway.store.errors import NO_VERSION, StoreUnavailable, translated
from gateway.store.nodes import ClusterView, Heartbeat, NodeRow
from gateway.store.propagation import MEMBERS, Member
from gateway.store.session import Session
from gateway.store.transactions import ReadTransaction, WriteTransaction

__all__ = [
    "ClusterView",
    "Heartbeat",
    "NodeRow",
    "ReadTransaction",
    "Store",
    "WriteTransaction",
]

IsolationLevel = Literal["AUTOCOMMIT", "READ COMMITTED"]

HOUSEKEEPING_INTERVAL_S = 60.0
PRUNING_LOCK = 0x6761_7465_0001
"""Held by the one node that prunes the change log."""

_PRUNE = text("""
    WITH oldest AS MATERIALIZED (
        SELECT version - :keep AS version FROM config_version
        WHERE pg_try_advisory_xact_lock(:lock)
    ), pruned AS (
        DELETE FROM changes USING oldest WHERE changes.version <= oldest.version
    )
    DELETE FROM change_sets USING oldest WHERE change_sets.version < oldest.version
""").bindparams(lock=PRUNING_LOCK)
"""The version before the oldest kept one stays in ``change_sets``: a node may start from it."""


class Store:
    """The database behind a small pool of connections."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._engine: AsyncEngine | None = None
        self._next_housekeeping = 0.0

    async def start(self) -> None:
        """Make the pool; connections are opened when they are needed, so nothing is asked yet."""
        self._engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=lambda: connect(self._settings),
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # an error that is logged must not tell private keys
            pool_size=self._settings.database_pool_size,
            max_overflow=0,
            pool_timeout=self._settings.database_connect_timeout_s,
        )
        event.listen(self._engine.sync_engine, "checkout", _replace_if_cut)

    async def stop(self) -> None:
        """Close all connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
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
        """Write what a node reports; now and then also clean up. Raises StoreUnavailable."""
        async with self._session("AUTOCOMMIT") as session:
            await session.execute(nodes.report(beat))
            if time.monotonic() >= self._next_housekeeping:
                self._next_housekeeping = time.monotonic() + HOUSEKEEPING_INTERVAL_S
                await session.execute(nodes.FORGET_UNSEEN)
                await self._prune(session)

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

    async def prune_change_log(self) -> None:
        """Remove all but the newest ``change_log_keep`` versions. Raises StoreUnavailable."""
        async with self._session("AUTOCOMMIT") as session:
            await self._prune(session)

    async def _prune(self, session: Session) -> None:
        await session.execute(_PRUNE.bindparams(keep=self._settings.change_log_keep))

    @asynccontextmanager
    async def _session(self, isolation_level: IsolationLevel) -> AsyncIterator[Session]:
        if self._engine is None:
            raise StoreUnavailable("the store is not started")
        session = await self._open(self._engine, isolation_level)
        try:
            yield session
        except BaseException:
            await session.abandon()
            raise
        finally:
            await session.close()

    async def _open(self, engine: AsyncEngine, isolation_level: IsolationLevel) -> Session:
        settings = self._settings
        with translated():
            async with asyncio.timeout(2 * settings.database_connect_timeout_s):
                connection = await engine.connect()
                await connection.execution_options(isolation_level=isolation_level)
                pooled = await connection.get_raw_connection()
        driver: Any = pooled.driver_connection
        timeout_s = settings.database_statement_timeout_s + DEADLINE_MARGIN_S
        return Session(connection, driver, timeout_s)


def _replace_if_cut(connection: Any, *_: object) -> None:
    """Notice on checkout that the server closed a connection, without asking it each time."""
    if is_cut(connection.driver_connection):
        raise InvalidatePoolError

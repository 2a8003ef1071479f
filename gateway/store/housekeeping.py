"""What nodes tidy up in the database now and then: one of them at a time, in small bites.

It goes on beside everything else, so that neither a heartbeat nor a request waits for it or fails
with it. Each bite is a transaction of its own; who finds another node at work leaves it to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog
from sqlalchemy import Executable, Table, delete, exists, func, select, text

from gateway.entities.entity_type import EXPIRY_COLUMN
from gateway.settings import NodeSettings
from gateway.store import nodes, rate_limits
from gateway.store.errors import StoreError
from gateway.store.session import IsolationLevel, Session
from gateway.store.tables import VERSIONED_TABLES

INTERVAL_S = 60.0
BITE = 1000
"""Rows removed in one transaction."""
MOST_BITES = 100
"""Of one kind in a row: then it is enough for this time."""

EXPIRY_ACTOR = '{"request_id": "expiry"}'
"""Who the audit log says removed what had expired; all else of a request is null there."""
EXPIRY_LOCK_TIMEOUT_MS = 200

LOCK = 0x6761_7465_0001
"""Held by the one node that tidies up."""

_PRUNE_CHANGES = text("""
    WITH oldest AS MATERIALIZED (
        SELECT version - :keep AS version FROM config_version
        WHERE pg_try_advisory_xact_lock(:lock)
    ), pruned AS (
        DELETE FROM changes USING oldest WHERE changes.version <= oldest.version
    )
    DELETE FROM change_sets USING oldest WHERE change_sets.version < oldest.version
""").bindparams(lock=LOCK)
"""The version before the oldest kept one stays in ``change_sets``: a node may start from it."""

_PRUNE_AUDIT = text("""
    WITH alone AS MATERIALIZED (
        SELECT pg_try_advisory_xact_lock(:lock) AS is_so
    ), old AS MATERIALIZED (
        SELECT id FROM audit
        WHERE occurred_at < now() - :keep AND (SELECT is_so FROM alone)
        ORDER BY occurred_at
        LIMIT :most
    )
    DELETE FROM audit USING old WHERE audit.id = old.id
""").bindparams(lock=LOCK, most=BITE)

_FORGET_PROBE_REPORTS = text("""
    DELETE FROM probe_reports WHERE (upstream_id, host, address, port, node_id) IN (
        SELECT upstream_id, host, address, port, node_id FROM probe_reports
        WHERE reported_at < clock_timestamp() - make_interval(mins => 1)
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    )
""").bindparams(most=BITE)
"""Nobody asks for what is older than a node may be silent."""

_BEGIN_REMOVAL = select(
    func.pg_try_advisory_xact_lock(LOCK),
    func.set_config("lock_timeout", f"{EXPIRY_LOCK_TIMEOUT_MS}ms", True),
    func.set_config("gateway.actor", EXPIRY_ACTOR, True),
)

_log = structlog.get_logger(__name__)


class Housekeeping:
    """Tidies up for as long as the node runs."""

    def __init__(
        self,
        open_session: Callable[[IsolationLevel], AbstractAsyncContextManager[Session]],
        settings: NodeSettings,
    ) -> None:
        self._open_session = open_session
        self._change_log_keep = settings.change_log_keep
        self._audit_keep = timedelta(days=settings.audit_keep_days)

    async def run(self) -> None:
        """Tidy up every now and then until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.tidy()

    async def tidy(self) -> None:
        """Tidy up once. What cannot be done now is told in the log, and tried the next time."""
        for name, chore in {
            "forget nodes": self._forget_nodes,
            "prune the change log": self._prune_changes,
            "prune the audit log": self._prune_audit,
            "remove what has expired": self._remove_expired,
            "forget what probes found": self._forget_probe_reports,
            "forget counters": self._forget_counters,
        }.items():
            try:
                await chore()
            except StoreError as error:
                _log.warning("housekeeping is put off", chore=name, error=str(error))

    async def _forget_nodes(self) -> None:
        async with self._open_session("AUTOCOMMIT") as session:
            await session.execute(nodes.FORGET_UNSEEN)

    async def _prune_changes(self) -> None:
        async with self._open_session("AUTOCOMMIT") as session:
            await session.execute(_PRUNE_CHANGES.bindparams(keep=self._change_log_keep))

    async def _prune_audit(self) -> None:
        await self._remove_in_bites(_PRUNE_AUDIT.bindparams(keep=self._audit_keep))

    async def _forget_counters(self) -> None:
        await self._remove_in_bites(rate_limits.FORGET_OVER.bindparams(most=BITE))

    async def _forget_probe_reports(self) -> None:
        await self._remove_in_bites(_FORGET_PROBE_REPORTS)

    async def _remove_in_bites(self, statement: Executable) -> None:
        """Run what removes some rows until there are no more."""
        for _ in range(MOST_BITES):
            async with self._open_session("AUTOCOMMIT") as session:
                removed = await session.execute(statement)
            if removed.rowcount < BITE:
                return

    async def _remove_expired(self) -> None:
        for table in VERSIONED_TABLES.values():
            if EXPIRY_COLUMN in table.c:
                for _ in range(MOST_BITES):
                    if await self._remove_some_expired(table) < BITE:
                        break

    async def _remove_some_expired(self, table: Table) -> int:
        """Make a version without them, if there are any and no writer is in the way for long."""
        has_expired = table.c[EXPIRY_COLUMN] <= func.now()
        async with self._open_session("AUTOCOMMIT") as session:
            if not (await session.execute(select(exists().where(has_expired)))).scalar_one():
                return 0
        some = select(table.c.id).where(has_expired).limit(BITE)
        async with self._open_session("READ COMMITTED") as session:
            if not (await session.execute(_BEGIN_REMOVAL)).scalars().one():
                return 0
            # Said twice: a row that was renewed while we waited is only looked at on the outside.
            removed = await session.execute(
                delete(table).where(has_expired, table.c.id.in_(some)), table
            )
            await session.commit()
        return removed.rowcount

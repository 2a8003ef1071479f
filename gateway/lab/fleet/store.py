"""The store of a simulated node: the same statements, on one bare connection.

A pool of its own for each of hundreds of nodes in a process would be most of what they do. Only the
housekeeping is left out: a few statements a minute, of which one node at a time does the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from sqlalchemy import Compiled, Executable, Table
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect
from sqlalchemy.sql import ClauseElement

from gateway.settings import NodeSettings
from gateway.store.connection import DEADLINE_MARGIN_S, ask, connect, is_cut
from gateway.store.errors import translated
from gateway.store.session import Session
from gateway.store.store import IsolationLevel, Store

_DIALECT = psycopg_dialect()  # type: ignore[no-untyped-call]


class FrugalStore(Store):
    """Takes heartbeats as `Store` does; for one task at a time."""

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings)
        self._timeout_s = settings.database_statement_timeout_s + DEADLINE_MARGIN_S
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def start(self) -> None:
        """Prepare nothing: the first statement connects."""

    async def stop(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @asynccontextmanager
    async def _session(self, isolation_level: IsolationLevel) -> AsyncIterator[FrugalSession]:
        """Lend the connection; whatever goes wrong, the next borrower gets a new one."""
        del isolation_level  # heartbeats are single statements
        try:
            if self._connection is None or is_cut(self._connection):
                await self.stop()
                with translated():
                    self._connection = await connect(self._settings)
            yield FrugalSession(self._connection, self._timeout_s)
        except BaseException:
            await self.stop()
            raise


class FrugalSession(Session):
    """Runs statements on a bare connection."""

    def __init__(self, driver: psycopg.AsyncConnection[Any], timeout_s: float) -> None:
        self._driver = driver
        self._timeout_s = timeout_s

    async def execute(
        self,
        statement: Executable,
        table: Table | None = None,
        row: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compile and run a statement. Raises StoreUnavailable."""
        del table, row
        compiled = _compiled(statement)
        call = self._driver.execute(str(compiled), compiled.params)
        with translated():
            await ask(self._driver, call, self._timeout_s)


def _compiled(statement: Executable) -> Compiled:
    assert isinstance(statement, ClauseElement)  # noqa: S101 - as all are that Store runs
    return statement.compile(dialect=_DIALECT)

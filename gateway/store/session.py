"""A connection out of the pool, each use of it under a deadline and with our errors."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Literal, TypeVar

import psycopg
import structlog
from sqlalchemy import CursorResult, Executable, Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store.connection import ask, is_cut
from gateway.store.errors import translated

IsolationLevel = Literal["AUTOCOMMIT", "READ COMMITTED"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Session:
    """Runs statements on a pooled connection. All methods raise StoreError."""

    def __init__(
        self,
        connection: AsyncConnection,
        driver: psycopg.AsyncConnection[Any],
        timeout_s: float,
    ) -> None:
        self._connection = connection
        self._driver = driver
        self._timeout_s = timeout_s

    async def execute(
        self,
        statement: Executable,
        table: Table | None = None,
        row: Mapping[str, Any] | None = None,
    ) -> CursorResult[Any]:
        """Run a statement; ``table`` and ``row`` are what it writes, to explain errors with."""
        with translated(table, row):
            return await self._ask(self._connection.execute(statement))

    async def commit(self) -> None:
        """Commit. An error does not tell whether the transaction was committed."""
        with translated():
            await self._ask(self._connection.commit())

    async def abandon(self) -> None:
        """Roll back, or drop the connection if that does not work any more."""
        try:
            if not is_cut(self._driver):
                await self._ask(self._connection.rollback())
                return
        except (SQLAlchemyError, psycopg.Error, TimeoutError) as error:
            _log.debug("dropping a connection that cannot roll back", error=str(error))
        await self.drop()

    async def drop(self) -> None:
        """Close the connection instead of giving it back."""
        await self._connection.invalidate()

    async def close(self) -> None:
        """Give the connection back to the pool, also when we are cancelled meanwhile."""
        await asyncio.shield(asyncio.create_task(self._connection.close(), name="close-session"))

    async def _ask(self, answer: Coroutine[Any, Any, T]) -> T:
        return await ask(self._driver, answer, self._timeout_s)

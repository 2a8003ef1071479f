"""How every connection to PostgreSQL is opened: deadlines, session settings, tolerant decoding.

Statements are not prepared on the server unless it is sure that no pooler stands in between: behind
PgBouncer in transaction mode the next one may run on another server connection, which does not know
them. The session settings go with the
start-up packet, which such a PgBouncer must be told to let pass
(``ignore_startup_parameters = options``); then the role's own settings apply.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import select
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.json import set_json_loads

from gateway.settings import NodeSettings

T = TypeVar("T")

DEADLINE_MARGIN_S = 1.0
"""How much longer we wait than the server was told to work, for its own error to arrive."""


async def connect(settings: NodeSettings) -> psycopg.AsyncConnection[Any]:
    """Open a connection in autocommit mode.

    Raises psycopg.Error, OSError or TimeoutError.
    """
    parameters = conninfo_to_dict(settings.database_url.get_secret_value())
    hosts = str(parameters.get("host", "")).count(",") + 1
    timeout_s = settings.database_connect_timeout_s
    async with asyncio.timeout(hosts * timeout_s + DEADLINE_MARGIN_S):
        connection = await psycopg.AsyncConnection.connect(
            **parameters | _session(settings, str(parameters.get("options") or "")),
            connect_timeout=max(2, math.ceil(timeout_s)),
            autocommit=True,
            prepare_threshold=None,
        )
    tolerate_odd_values(connection)
    return connection


def _session(settings: NodeSettings, further_options: str) -> dict[str, Any]:
    options = {
        "statement_timeout": f"{settings.database_statement_timeout_s * 1000:.0f}",
        "lock_timeout": f"{settings.database_lock_timeout_s * 1000:.0f}",
        "search_path": "public",
        "timezone": "UTC",
    }
    ours = " ".join(f"-c {name}={value}" for name, value in options.items())
    return {
        "options": f"{ours} {further_options}".strip(),
        "application_name": f"gateway {settings.node_name}"[:63],
        "client_encoding": "utf8",
    }


async def ask(
    connection: psycopg.AsyncConnection[Any], answer: Coroutine[Any, Any, T], timeout_s: float
) -> T:
    """Return the answer of a driver call, cutting the connection when it takes longer.

    The same when we are cancelled: psycopg would otherwise wait for the server to confirm, maybe
    on the very connection that does not answer. Raises TimeoutError, and what the call raises.
    """
    call = asyncio.create_task(answer)
    try:
        done, _ = await asyncio.wait({call}, timeout=timeout_s)
        if not done:
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        return call.result()
    finally:
        if not call.done():
            cut(connection)
            with suppress(Exception):
                await call


async def is_pooled(connection: psycopg.AsyncConnection[Any], timeout_s: float) -> bool:
    """Tell whether somebody else answers for the server: poolers make up process ids.

    Raises TimeoutError, and what the driver raises.
    """
    question = connection.execute("SELECT pg_backend_pid()")
    answer = await (await ask(connection, question, timeout_s)).fetchone()
    return answer != (connection.info.backend_pid,)


def cut(connection: psycopg.AsyncConnection[Any]) -> None:
    """Close a connection's socket under it: the next or current use fails at once."""
    if connection.closed:
        return
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


def is_cut(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether an idle connection has been closed by the server; asks nobody but the kernel.

    Between statements the server says nothing, so that anything to read is its good-bye.
    """
    if connection.closed:
        return True
    readable = select.poll()
    readable.register(connection.fileno(), select.POLLIN)
    return bool(readable.poll(0))


def tolerate_odd_values(context: psycopg.AsyncConnection[Any]) -> None:
    """Let a value that Python cannot hold come back as its text.

    Otherwise one odd row, written by hand, would fail the query that reads it with all others.
    """
    context.adapters.register_loader("timestamptz", _TimestamptzOrText)
    set_json_loads(_json_or_text, context)


class _TimestamptzOrText(Loader):
    """Years beyond Python's, and ``infinity``, come back as text."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._strict = TimestamptzLoader(oid, context)

    def load(self, data: Buffer) -> Any:
        """Return a datetime, or a string."""
        try:
            return self._strict.load(data)
        except psycopg.DataError:
            return bytes(data).decode()


def _json_or_text(data: str | bytes) -> Any:
    """Return the value; JSON nested too deep, or with too long a number, as text."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data if isinstance(data, str) else bytes(data).decode()

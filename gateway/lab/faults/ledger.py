"""What the database itself says of each version: a table filled by triggers of the lab.

An entry is made at the commit, in the committing transaction. So the ledger knows what became of
writes whose writers were never told, and owes nothing to the change log it is held against.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
from psycopg import sql

from gateway.lab.faults.history import Commit, Values
from gateway.lab.faults.registers import KINDS, register, stored_value

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_MS = 60_000
_PAGE = 1000

_CREATE = """
    CREATE TABLE lab_ledger (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        version bigint NOT NULL,
        kind text NOT NULL,
        name text NOT NULL,
        entity jsonb
    );
    CREATE FUNCTION lab_enter() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
    BEGIN
        INSERT INTO lab_ledger (version, kind, name, entity)
        SELECT version, TG_TABLE_NAME, coalesce(NEW.name, OLD.name),
            CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END
        FROM config_version;
        RETURN NULL;
    END $$
"""

# Deferred: only at the commit is it certain that the version is taken.
_WATCH = sql.SQL("""
    CREATE CONSTRAINT TRIGGER lab_enter AFTER INSERT OR UPDATE OR DELETE ON {}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lab_enter()
""")


async def connect(database_url: str) -> psycopg.AsyncConnection[Any]:
    """Open a connection with deadlines, in autocommit mode. Raises psycopg.Error."""
    return await psycopg.AsyncConnection.connect(
        database_url,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
        options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
    )


async def install(database_url: str) -> None:
    """Begin the ledger. Raises psycopg.Error."""
    async with await connect(database_url) as connection:
        await connection.execute(_CREATE)
        for kind in KINDS:
            await connection.execute(_WATCH.format(sql.Identifier(kind)))


async def commits(database_url: str) -> AsyncIterator[Commit]:
    """Yield all entries in the order of versions. Raises psycopg.Error."""
    query = "SELECT version, kind, name, entity FROM lab_ledger ORDER BY version, number"
    async with await connect(database_url) as connection:
        cursor = await connection.execute(query)
        while entries := await cursor.fetchmany(_PAGE):
            for version, kind, name, entity in entries:
                yield Commit(version, register(kind, name), stored_value(kind, name, entity))


async def tables(database_url: str, keys: list[str]) -> Values:
    """Return the registers of these keys as they are in the tables. Raises psycopg.Error."""
    values: Values = {register(kind, key): None for kind in KINDS for key in keys}
    async with await connect(database_url) as connection:
        for kind in KINDS:
            query = sql.SQL("SELECT name, to_jsonb({0}) FROM {0}").format(sql.Identifier(kind))
            async for name, row in await connection.execute(query):
                values[register(kind, name)] = stored_value(kind, name, row)
    return values

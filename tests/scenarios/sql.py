"""The database as somebody with psql sees it."""

from __future__ import annotations

from typing import Any

import psycopg


async def run_sql(url: str, *statements: str) -> None:
    """Run statements, each a transaction of its own."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement)


async def rows(url: str, query: str) -> list[Any]:
    """Return what a query finds."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return await (await connection.execute(query)).fetchall()


async def newest_version(url: str) -> int:
    ((version,),) = await rows(url, "SELECT version FROM config_version")
    return int(version)


async def check_that_the_log_is_whole(url: str) -> None:
    """Each version has its change set, each change set its changes, and no row is unlogged."""
    versions = [version for (version,) in await rows(url, "SELECT version FROM change_sets")]
    assert sorted(versions) == list(range(await newest_version(url) + 1))
    empty = "SELECT version FROM change_sets WHERE version > 0 EXCEPT SELECT version FROM changes"
    assert await rows(url, empty) == []
    for table in ("services", "routes", "upstreams", "targets"):
        logged = (
            "SELECT DISTINCT ON (entity_id) entity_id, operation FROM changes "
            f"WHERE kind = '{table}' ORDER BY entity_id, version DESC"
        )
        there = f"SELECT entity_id FROM ({logged}) AS newest WHERE operation <> 'delete'"
        assert set(await rows(url, there)) == set(await rows(url, f"SELECT id FROM {table}"))

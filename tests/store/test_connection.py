"""Connections: session settings, deadlines even for a server that never says anything."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from pydantic import SecretStr

from gateway.settings import NodeSettings
from gateway.store.connection import ask, connect, cut, is_cut


@asynccontextmanager
async def connected(settings: NodeSettings) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    connection = await connect(settings)
    try:
        yield connection
    finally:
        await connection.close()


async def shown(connection: psycopg.AsyncConnection[Any], name: str) -> str:
    row = await (await connection.execute(f"SHOW {name}")).fetchone()
    assert row is not None
    return str(row[0])


def at(settings: NodeSettings, url: str, **changed: Any) -> NodeSettings:
    return settings.model_copy(update={"database_url": SecretStr(url), **changed})


async def test_a_session_has_our_deadlines_and_name(settings: NodeSettings) -> None:
    with_deadlines = settings.model_copy(
        update={"database_statement_timeout_s": 1.5, "database_lock_timeout_s": 0.25}
    )
    async with connected(with_deadlines) as connection:
        assert await shown(connection, "statement_timeout") == "1500ms"
        assert await shown(connection, "lock_timeout") == "250ms"
        assert await shown(connection, "application_name") == "gateway test"
        assert await shown(connection, "search_path") == "public"
        assert await shown(connection, "timezone") == "UTC"


async def test_options_in_the_url_are_kept_and_win(settings: NodeSettings) -> None:
    options = quote("-c work_mem=7MB -c lock_timeout=9s")
    url = f"{settings.database_url.get_secret_value()}&options={options}"
    async with connected(at(settings, url)) as connection:
        assert await shown(connection, "work_mem") == "7MB"
        assert await shown(connection, "lock_timeout") == "9s"
        assert await shown(connection, "search_path") == "public"


async def test_nothing_is_prepared_on_the_server(settings: NodeSettings) -> None:
    async with connected(settings) as connection:
        for number in range(20):
            await connection.execute("SELECT %s::int", [number])
        cursor = await connection.execute("SELECT count(*) FROM pg_prepared_statements")
        assert await cursor.fetchone() == (0,)


async def test_the_second_host_is_tried_when_the_first_is_dead(
    settings: NodeSettings, database_url: str
) -> None:
    socket_directory = database_url.partition("host=")[2]
    url = database_url.replace(socket_directory, f"/nowhere,{socket_directory}")
    async with connected(at(settings, url)) as connection:
        assert await shown(connection, "search_path") == "public"


async def test_a_server_that_accepts_and_says_nothing_is_given_up(settings: NodeSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody answers
        url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/gateway"
        with pytest.raises((TimeoutError, psycopg.OperationalError)):
            await connect(at(settings, url, database_connect_timeout_s=0.1))


async def test_a_cut_connection_is_seen_without_asking(settings: NodeSettings) -> None:
    async with connected(settings) as connection:
        assert not is_cut(connection)
        cut(connection)
        assert is_cut(connection)
        cut(connection)
    assert is_cut(connection)
    cut(connection)


async def test_an_answer_that_takes_too_long_costs_the_connection(settings: NodeSettings) -> None:
    async with connected(settings) as connection:
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            await ask(connection, connection.execute("SELECT pg_sleep(60)"), 0.05)
        assert is_cut(connection)

"""Strategy notify and what may stand between a node and its PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.settings import NodeSettings
from gateway.store.embedded import EmbeddedPostgres

from .mirror import SyncedNode, newest_version, run_sql, until
from .pgbouncer import needs_pgbouncer, pgbouncer

INSERT = "INSERT INTO services (host) VALUES ('h')"
NEVER_POLLS_S = 3600


def through(url: str, settings: NodeSettings, **further: object) -> NodeSettings:
    changed = {"strategy": "notify", "poll_interval_s": NEVER_POLLS_S, **further}
    return settings.model_copy(update={"database_url": SecretStr(url), **changed})


@needs_pgbouncer
async def test_a_pooler_that_delivers_nothing_is_named_and_polling_goes_on(
    settings: NodeSettings,
    postgres: EmbeddedPostgres,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.sync.notify.DELIVERY_TIMEOUT_S", 0.5)
    async with pgbouncer(postgres, database_url, "transaction", tmp_path) as url:
        with capture_logs() as logs:
            async with SyncedNode(through(url, settings, poll_interval_s=0.05)).running() as node:
                await until(lambda: node.status.strategy_problem is not None)
                await run_sql(database_url, INSERT)
                await node.reaches(1)
    assert "--database-listen-url (GATEWAY_DATABASE_LISTEN_URL)" in node.status.strategy_problem
    (said,) = [line for line in logs if line["log_level"] == "warning"]
    assert said["problem"] == node.status.strategy_problem


@needs_pgbouncer
async def test_a_direct_connection_for_listening_goes_around_the_pooler(
    settings: NodeSettings, postgres: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    async with pgbouncer(postgres, database_url, "transaction", tmp_path) as url:
        around_it = {"database_listen_url": SecretStr(database_url)}
        async with SyncedNode(through(url, settings, **around_it)).running() as node:
            for _ in range(3):
                await run_sql(database_url, INSERT)
                await node.reaches(await newest_version(database_url))
            assert node.status.strategy_problem is None


@needs_pgbouncer
async def test_a_pooler_that_lends_whole_sessions_delivers(
    settings: NodeSettings, postgres: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    async with (
        pgbouncer(postgres, database_url, "session", tmp_path) as url,
        SyncedNode(through(url, settings)).running() as node,
    ):
        for _ in range(3):
            await run_sql(database_url, INSERT)
            await node.reaches(await newest_version(database_url))
        assert node.status.strategy_restarts == 0

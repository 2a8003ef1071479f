"""A read replica of PostgreSQL: it is waited for, but not for long, and followed with care."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.lab.fault_proxy import FaultProxy
from gateway.settings import NodeSettings
from gateway.store import migrate
from gateway.store.embedded import EmbeddedPostgres, find_binaries
from gateway.store.errors import StoreUnavailable
from gateway.store.replica import ReplicaSource
from gateway.store.source import Batch, DatabaseSource, Load, VersionMark
from gateway.sync.loop import SyncFailedError, SyncLoop
from gateway.sync.poll import PollStrategy
from gateway.sync.status import SyncState, SyncStatus
from tests.postgres import temporary_postgres
from tests.sync.mirror import Mirror

SLOW = "loading from the primary instead of the replica"
AGAIN = "loading from the replica again"


# -- a primary and a streaming replica


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedPostgres]:
    with temporary_postgres("primary") as server:
        migrate.upgrade(server.url())
        yield server


@pytest.fixture(scope="module")
def standby(primary: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    directory = Path(tempfile.mkdtemp(prefix="gateway-standby-"))
    directory.chmod(0o711)
    server = EmbeddedPostgres(directory / "postgres", durable=False)
    try:
        copy_data(primary, server)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def copy_data(primary: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
    """Take a base backup, as the account that the primary runs as."""
    account = (primary.directory / "pgdata").stat()
    data = standby.directory / "pgdata"
    data.mkdir(mode=0o700, parents=True)
    os.chown(data, account.st_uid, account.st_gid)
    standby.directory.chmod(0o711)
    backup = [find_binaries() / "pg_basebackup", "--checkpoint=fast", "--write-recovery-conf"]
    whence = ["--host", str(primary.directory / "socket"), "--username", "postgres"]
    identity = {"user": account.st_uid, "group": account.st_gid, "extra_groups": []}
    as_account = identity if os.geteuid() == 0 else {}
    command = [*backup, *whence, "--no-sync", "--pgdata", data]
    subprocess.run(command, check=True, cwd="/", **as_account)


@pytest.fixture
def database_url(primary: EmbeddedPostgres) -> str:
    return primary.url()


@pytest.fixture
def replica_url(standby: EmbeddedPostgres) -> Iterator[str]:
    url = standby.url()
    run_sql(url, "SELECT pg_wal_replay_resume()")
    yield url
    run_sql(url, "SELECT pg_wal_replay_resume()")


@pytest.fixture
async def network(primary: EmbeddedPostgres) -> AsyncIterator[FaultProxy]:
    """What is between the node and the primary."""
    async with FaultProxy.before(primary) as network:
        yield network


def run_sql(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


def write(primary: EmbeddedPostgres, host: str = "example.test") -> None:
    run_sql(primary.url(), f"INSERT INTO services (host) VALUES ('{host}')")


class Counted(DatabaseSource):
    """Counts what it is asked."""

    loads = 0
    questions = 0

    async def seen(self) -> VersionMark:
        self.questions += 1
        return await super().seen()

    def load(self, since: VersionMark | None) -> AbstractAsyncContextManager[Load | None]:
        self.loads += 1
        return super().load(since)


class Reader:
    """A node's reading: what it has applied, and who gave it."""

    def __init__(self, settings: NodeSettings, replica_url: str, **changed: Any) -> None:
        settings = settings.model_copy(update=changed)
        there = settings.model_copy(update={"database_url": SecretStr(replica_url)})
        self.applied: VersionMark | None = None
        self.hosts: list[str] = []
        self.primary, self.replica = Counted(settings), Counted(there)
        self.source = ReplicaSource(self.primary, self.replica, settings, lambda: self.applied)

    async def sync(self) -> None:
        """Do as the sync loop does."""
        if await self.source.seen() == self.applied:
            return
        async with self.source.load(self.applied) as load:
            if load is not None:
                batches: list[Batch] = [batch async for batch in load.batches]
                self.hosts += [row["host"] for batch in batches for row in batch.rows]
                self.applied = load.mark

    @property
    def loads(self) -> tuple[int, int]:
        """How many loads came from the primary, and from the replica."""
        return self.primary.loads, self.replica.loads


@pytest.fixture
async def reader(settings: NodeSettings, replica_url: str, network: FaultProxy):
    """A reader that waits for the replica as long as it takes."""
    url = SecretStr(network.url(settings.database_url.get_secret_value()))
    reader = Reader(settings, replica_url, database_url=url, database_replica_wait_s=30.0)
    yield reader
    await reader.source.close()


def impatient(reader: Reader) -> Reader:
    reader.source.wait_s = 0.05
    return reader


# -- with the primary


async def test_rows_come_from_the_replica_and_versions_from_the_primary(
    reader: Reader, primary: EmbeddedPostgres
) -> None:
    write(primary, "first")
    await reader.sync()
    write(primary, "second")
    await reader.sync()
    assert reader.hosts[-2:] == ["first", "second"]
    assert reader.loads == (0, 2)
    questions = reader.replica.questions
    await reader.sync()
    assert reader.loads == (0, 2)
    assert reader.replica.questions == questions


async def test_a_load_waits_until_the_replica_has_the_version(
    reader: Reader, primary: EmbeddedPostgres, replica_url: str
) -> None:
    await reader.sync()
    run_sql(replica_url, "SELECT pg_wal_replay_pause()")
    write(primary, "awaited")
    syncing = asyncio.create_task(reader.sync())
    before = reader.replica.questions
    while reader.replica.questions < before + 3:  # noqa: ASYNC110 - it asks without an event
        await asyncio.sleep(0.001)
    assert not syncing.done()
    run_sql(replica_url, "SELECT pg_wal_replay_resume()")
    await syncing
    assert reader.hosts[-1] == "awaited"
    assert reader.loads == (0, 2)


async def test_a_replica_that_stays_behind_is_passed_over_and_said_once(
    reader: Reader, primary: EmbeddedPostgres, replica_url: str
) -> None:
    await reader.sync()
    with capture_logs() as logs:
        run_sql(replica_url, "SELECT pg_wal_replay_pause()")
        impatient(reader)
        for host in ("one", "two"):
            write(primary, host)
            await reader.sync()
        assert reader.hosts[-2:] == ["one", "two"]
        assert reader.loads == (2, 1)
        run_sql(replica_url, "SELECT pg_wal_replay_resume()")
        reader.source.wait_s = 30.0
        write(primary, "three")
        await reader.sync()
    assert reader.hosts[-1] == "three"
    assert reader.loads == (2, 2)
    assert [line["event"] for line in logs] == [SLOW, AGAIN]


async def test_a_replica_that_is_gone_is_passed_over(
    settings: NodeSettings, primary: EmbeddedPostgres
) -> None:
    reader = Reader(settings, "postgresql://postgres@127.0.0.1:1/gateway")
    write(primary, "anyway")
    with capture_logs() as logs:
        await reader.sync()
    assert reader.hosts[-1] == "anyway"
    assert reader.loads == (1, 0)
    assert [line["event"] for line in logs] == [SLOW]
    await reader.source.close()


async def test_after_a_load_that_the_replica_gave_up_the_primary_is_asked(
    reader: Reader, primary: EmbeddedPostgres
) -> None:
    write(primary, "anyway")
    await reader.source.seen()
    with pytest.raises(StoreUnavailable, match="conflict with recovery"):
        async with reader.source.load(None):
            raise StoreUnavailable("canceling statement due to conflict with recovery")
    await reader.sync()
    assert reader.hosts[-1] == "anyway"
    assert reader.loads == (1, 1)


# -- without the primary


async def test_without_the_primary_the_replica_is_followed_but_no_sync_succeeds(
    reader: Reader, primary: EmbeddedPostgres, network: FaultProxy
) -> None:
    await reader.sync()
    network.cut()
    write(primary, "later")  # somebody else still reaches it
    with pytest.raises(StoreUnavailable, match="cannot tell what is newest"):
        await until_newer(reader)
    assert reader.hosts[-1] == "later"
    with pytest.raises(StoreUnavailable, match="the replica has nothing newer"):
        await reader.sync()
    network.heal()
    await reader.sync()
    write(primary, "last")
    await reader.sync()
    assert reader.hosts[-1] == "last"


async def until_newer(reader: Reader) -> None:
    """Sync until the replica has more to give."""
    async with asyncio.timeout(30):
        while True:
            try:
                await reader.sync()
            except StoreUnavailable as error:
                if "nothing newer" not in str(error):
                    raise
            await asyncio.sleep(0.01)


async def test_a_primary_that_never_answers_leaves_time_for_the_replica(
    reader: Reader, primary: EmbeddedPostgres, network: FaultProxy
) -> None:
    await reader.sync()
    network.stall()
    reader.source.patience_s = 0.05
    with pytest.raises(StoreUnavailable, match="no answer in time; the replica has nothing newer"):
        async with asyncio.timeout(30):
            await reader.sync()
    network.heal()
    reader.source.patience_s = 30.0
    write(primary, "last")
    await reader.sync()
    assert reader.hosts[-1] == "last"


async def test_without_the_primary_nothing_goes_back(
    reader: Reader, primary: EmbeddedPostgres, network: FaultProxy, replica_url: str
) -> None:
    await reader.sync()
    run_sql(replica_url, "SELECT pg_wal_replay_pause()")
    impatient(reader)
    write(primary, "only here")
    await reader.sync()
    applied = reader.applied
    network.cut()
    for since in (applied, None):
        with pytest.raises(StoreUnavailable):
            await reader.source.seen()
        with pytest.raises(StoreUnavailable, match="the replica has another history"):
            async with reader.source.load(since):
                pass
    assert reader.applied == applied


async def test_without_the_primary_no_other_epoch_is_followed(
    settings: NodeSettings, primary: EmbeddedPostgres, empty_database_url: str, network: FaultProxy
) -> None:
    migrate.upgrade(empty_database_url)
    for _ in range(100):
        run_sql(empty_database_url, "INSERT INTO services (host) VALUES ('theirs')")
    url = SecretStr(network.url(settings.database_url.get_secret_value()))
    reader = impatient(Reader(settings, empty_database_url, database_url=url))
    write(primary, "ours")
    await reader.sync()
    network.cut()
    with pytest.raises(StoreUnavailable, match="nothing newer"):
        await reader.sync()
    with pytest.raises(StoreUnavailable, match="another history"):
        async with reader.source.load(reader.applied):
            pass
    assert "theirs" not in reader.hosts
    await reader.source.close()


async def test_a_node_goes_on_with_the_replica_and_stays_out_of_touch(
    settings: NodeSettings, replica_url: str, primary: EmbeddedPostgres, network: FaultProxy
) -> None:
    url = SecretStr(network.url(settings.database_url.get_secret_value()))
    settings = settings.model_copy(update={"database_url": url, "poll_interval_s": 0.05})
    status, mirror = SyncStatus("poll"), Mirror()
    replica = settings.model_copy(update={"database_url": SecretStr(replica_url)})
    source = ReplicaSource(
        DatabaseSource(settings), DatabaseSource(replica), settings, lambda: status.applied
    )
    loop = SyncLoop(source, PollStrategy(settings), mirror, settings, status)
    await loop.first_load()
    applied_before, success_before = status.applied, status.last_success
    network.cut()
    write(primary, "later")
    async with running(loop):
        while status.applied == applied_before:
            with pytest.raises(SyncFailedError):
                await loop.sync_now()
        assert "later" in {row["host"] for row in mirror.contents.values()}
        assert status.state is SyncState.DATABASE_UNAVAILABLE
        assert status.last_success == success_before
        network.heal()
        async with asyncio.timeout(30):
            while status.state is not SyncState.SYNCED:
                with suppress(SyncFailedError):
                    await loop.sync_now()
    await source.close()


@asynccontextmanager
async def running(loop: SyncLoop) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


# -- settings


def test_without_a_replica_the_source_is_the_database(settings: NodeSettings) -> None:
    assert isinstance(ReplicaSource.of(settings, lambda: None), DatabaseSource)
    with_one = settings.model_copy(update={"database_replica_url": SecretStr("postgresql://r/g")})
    assert isinstance(ReplicaSource.of(with_one, lambda: None), ReplicaSource)

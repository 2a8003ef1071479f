"""The sync loop: one question for all, the mark moves after the apply, and nothing stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.settings import NodeSettings
from gateway.store import migrate
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.errors import StoreUnavailable
from gateway.store.source import BATCH_ROWS, Load
from gateway.store.store import Store
from gateway.sync.loop import SyncFailedError
from gateway.sync.strategy import Wake
from tests.store.rows import service
from tests.sync.mirror import SyncedNode, run_sql, tables, until


@pytest.fixture
def polling(settings: NodeSettings) -> NodeSettings:
    return settings.model_copy(update={"strategy": "poll", "poll_interval_s": 0.05})


@pytest.fixture
def on_demand(settings: NodeSettings) -> NodeSettings:
    """Settings under which nothing happens unless it is asked for."""
    return settings.model_copy(update={"strategy": "poll", "poll_interval_s": 3600})


async def write(store: Store) -> int:
    async with store.write() as tx:
        await tx.insert("services", service())
    return tx.version


# -- asking


async def test_sync_now_returns_when_what_was_committed_is_applied(
    on_demand: NodeSettings, store: Store
) -> None:
    async with SyncedNode(on_demand).running() as node:
        for _ in range(3):
            version = await write(store)
            await node.loop.sync_now()
            assert node.status.applied is not None
            assert node.status.applied.version == version


async def test_callers_share_a_question_that_is_asked_after_they_called(
    on_demand: NodeSettings, store: Store
) -> None:
    async with SyncedNode(on_demand).running() as node:
        syncs_before = node.status.syncs
        await write(store)
        node.mirror.may_finish.clear()
        first = [asyncio.create_task(node.loop.sync_now()) for _ in range(20)]
        node.mirror.has_begun.clear()
        await node.mirror.has_begun.wait()
        await write(store)
        second = [asyncio.create_task(node.loop.sync_now()) for _ in range(20)]
        await asyncio.sleep(0)
        node.mirror.may_finish.set()
        await asyncio.gather(*first, *second)
        assert node.status.syncs - syncs_before == 2
        assert node.status.applied is not None
        assert node.status.applied.version == 2


async def test_versions_written_during_an_apply_are_applied_in_one_go(
    on_demand: NodeSettings, store: Store, database_url: str
) -> None:
    notified = on_demand.model_copy(update={"strategy": "notify"})
    async with SyncedNode(notified).running() as node:
        node.mirror.may_finish.clear()
        node.mirror.has_begun.clear()
        await write(store)
        await node.mirror.has_begun.wait()
        applies_before = node.status.applies
        for _ in range(50):
            version = await write(store)
        node.mirror.may_finish.set()
        await node.reaches(version)
        assert node.status.applies - applies_before <= 3
        assert node.mirror.contents == await tables(database_url)


async def test_sync_now_fails_when_the_loop_does_not_run_any_more(
    on_demand: NodeSettings, store: Store
) -> None:
    node = SyncedNode(on_demand)
    async with node.running():
        await node.loop.sync_now()
        node.mirror.may_finish.clear()
        node.mirror.has_begun.clear()
        await write(store)
        asked_before = asyncio.create_task(node.loop.sync_now())
        await node.mirror.has_begun.wait()
        asked_during = asyncio.create_task(node.loop.sync_now())
        await asyncio.sleep(0)
    asked_after = asyncio.create_task(node.loop.sync_now())
    for caller in (asked_before, asked_during, asked_after):
        with pytest.raises(SyncFailedError, match="stopped"):
            await caller


async def test_a_caller_that_gives_up_does_not_take_the_others_with_it(
    on_demand: NodeSettings, store: Store
) -> None:
    async with SyncedNode(on_demand).running() as node:
        await write(store)
        impatient = asyncio.create_task(node.loop.sync_now())
        patient = asyncio.create_task(node.loop.sync_now())
        await asyncio.sleep(0)
        impatient.cancel()
        await patient
        assert node.status.applies == 2


# -- bursts


class Announcer:
    """A strategy that announces when it is told to."""

    source = None
    promises_wake = False
    wake: Wake

    def __init__(self) -> None:
        self.runs = asyncio.Event()

    async def run(self, wake: Wake) -> None:
        self.wake = wake
        self.runs.set()
        await asyncio.Event().wait()

    async def keep_announcing(self) -> None:
        while True:
            self.wake("again")
            await asyncio.sleep(0.001)


async def test_a_burst_of_versions_is_applied_in_few_steps(
    on_demand: NodeSettings, store: Store, database_url: str
) -> None:
    gap_s = 0.2
    notified = on_demand.model_copy(update={"strategy": "notify", "apply_gap_s": gap_s})
    async with SyncedNode(notified).running() as node:
        began, applies_before = time.monotonic(), node.status.applies
        for _ in range(100):
            version = await write(store)
        await node.reaches(version)
        took_s = time.monotonic() - began
        assert node.status.applies - applies_before <= 1 + took_s / gap_s + 1
        assert node.mirror.contents == await tables(database_url)


async def test_no_version_is_put_off_by_those_that_follow(
    on_demand: NodeSettings, store: Store
) -> None:
    announcer = Announcer()
    with_gap = on_demand.model_copy(update={"apply_gap_s": 0.02})
    async with SyncedNode(with_gap, announcer).running() as node:
        await announcer.runs.wait()
        announcing = asyncio.create_task(announcer.keep_announcing())
        for _ in range(3):
            await node.reaches(await write(store))
        announcing.cancel()


async def test_who_wants_to_know_now_does_not_wait_for_the_burst_to_be_over(
    on_demand: NodeSettings, store: Store
) -> None:
    announcer = Announcer()
    with_gap = on_demand.model_copy(update={"apply_gap_s": 3600})
    async with SyncedNode(with_gap, announcer).running() as node:
        await announcer.runs.wait()
        await write(store)
        await node.loop.sync_now()  # the gap begins
        for version in (2, 3):
            await write(store)
            announcer.wake("waits for the end of the gap")
            await node.loop.sync_now()
            assert node.status.applied is not None
            assert node.status.applied.version == version


# -- what is reported


async def test_the_stale_window_is_measured_from_the_oldest_commit(
    on_demand: NodeSettings, store: Store
) -> None:
    observed: list[tuple[float, float | None]] = []
    node = SyncedNode(on_demand)
    node.status.observe_apply = lambda duration_s, stale_s: observed.append((duration_s, stale_s))
    async with node.running():
        began = time.monotonic()
        await write(store)
        between = time.monotonic()
        await asyncio.sleep(0.05)
        await write(store)
        at_least_s = time.monotonic() - between - 0.02
        await node.loop.sync_now()
        at_most_s = time.monotonic() - began
    first, second = observed
    assert first[1] is None
    assert second[1] == node.status.last_propagation_s
    assert second[1] is not None
    assert 0.03 < at_least_s < second[1] < at_most_s
    assert 0 < second[0] == node.status.last_apply_s


async def test_an_observer_that_fails_does_not_hold_up_sync(
    polling: NodeSettings, store: Store
) -> None:
    node = SyncedNode(polling)
    node.status.on_applied.append(lambda: 1 // 0)
    async with node.running():
        await node.reaches(await write(store))
        assert node.status.state == "synced"


# -- histories


async def test_a_node_that_the_log_does_not_reach_back_to_loads_everything(
    on_demand: NodeSettings, store: Store, database_url: str
) -> None:
    async with SyncedNode(on_demand).running() as node:
        for _ in range(3):
            await write(store)
        await run_sql(database_url, "DELETE FROM change_sets WHERE version < 3")
        with capture_logs() as logs:
            await node.loop.sync_now()
        assert node.mirror.kinds == ["full", "full"]
        assert node.mirror.contents == await tables(database_url)
        assert [log["log_level"] for log in logs if "reason" in log] == ["info"]


@pytest.mark.parametrize(
    ("sql", "reason", "version"),
    [
        ("UPDATE config_version SET epoch = gen_random_uuid()", "another database", 3),
        ("UPDATE config_version SET version = 1", "went back", 1),
        ("UPDATE config_version SET committed_at = now()", "another time", 3),
    ],
)
async def test_a_replaced_database_is_loaded_whole_with_a_warning(
    on_demand: NodeSettings, store: Store, database_url: str, sql: str, reason: str, version: int
) -> None:
    async with SyncedNode(on_demand).running() as node:
        for _ in range(3):
            await write(store)
        await node.loop.sync_now()
        await run_sql(
            database_url,
            "ALTER TABLE services DISABLE TRIGGER ALL; DELETE FROM services; "
            "ALTER TABLE services ENABLE TRIGGER ALL",
            sql,
            "UPDATE change_sets SET committed_at = c.committed_at FROM config_version c "
            "WHERE c.version = change_sets.version",
        )
        with capture_logs() as logs:
            await node.loop.sync_now()
        warned = [log for log in logs if reason in log.get("reason", "")]
        assert [log["log_level"] for log in warned] == ["warning"]
        assert node.mirror.contents == {}
        assert node.status.applied is not None
        assert node.status.applied.version == version
        await write(store)
        await node.loop.sync_now()
        assert node.mirror.kinds[-1] == "changes"


# -- appliers that fail


async def test_an_apply_that_fails_keeps_the_mark_and_the_next_one_loads_everything(
    on_demand: NodeSettings, store: Store, database_url: str
) -> None:
    async with SyncedNode(on_demand).running() as node:
        await write(store)
        node.mirror.failures = [ValueError("does not fit")]
        with pytest.raises(SyncFailedError, match="does not fit"):
            await node.loop.sync_now()
        assert (node.status.state, node.status.last_error) == ("failing", "does not fit")
        assert node.status.applied is not None
        assert node.status.applied.version == 0
        assert node.mirror.contents == {}
        await node.loop.sync_now()
        assert node.mirror.kinds == ["full", "changes", "full"]
        assert node.mirror.contents == await tables(database_url)
        assert (node.status.state, node.status.last_error) == ("synced", None)


async def test_an_apply_that_hangs_is_cancelled_named_and_made_up_for(
    polling: NodeSettings, store: Store
) -> None:
    impatient = polling.model_copy(update={"sync_timeout_s": 0.2})
    async with SyncedNode(impatient).running() as node:
        node.mirror.may_finish.clear()
        with capture_logs() as logs:
            version = await write(store)
            await node.becomes("failing")
        node.mirror.may_finish.set()
        await node.reaches(version)
        assert node.mirror.kinds[1:] == ["changes"] * (len(node.mirror.kinds) - 1)
    assert "sync-apply" in [log.get("task") for log in logs]


async def test_very_many_changes_get_the_time_they_take(
    polling: NodeSettings, database_url: str
) -> None:
    """The timeout is for each batch: else the same changes would be tried for ever, in vain."""
    impatient = polling.model_copy(update={"sync_timeout_s": 1.0})
    async with SyncedNode(impatient).running() as node:
        node.mirror.batch_takes_s = 0.3  # four of them take longer than the timeout
        many = f"SELECT 'many.test' FROM generate_series(1, {4 * BATCH_ROWS})"
        await run_sql(database_url, f"INSERT INTO services (host) {many}")
        await node.reaches(1)
        assert node.status.failures == 0
        assert len(node.mirror.contents) == 4 * BATCH_ROWS


async def test_a_failing_first_load_is_raised(polling: NodeSettings) -> None:
    node = SyncedNode(polling)
    node.mirror.failures = [ValueError("unreadable")]
    with pytest.raises(ValueError, match="unreadable"):
        await node.loop.first_load()
    nowhere = SecretStr("postgresql://postgres@127.0.0.1:1/gateway")
    with pytest.raises(StoreUnavailable):
        await SyncedNode(polling.model_copy(update={"database_url": nowhere})).loop.first_load()
    await node.source.close()


# -- strategies that misbehave


class Misbehaving:
    """A strategy of somebody else; counts how often it was started."""

    source = None
    promises_wake = False

    def __init__(self) -> None:
        self.starts = 0

    async def run(self, wake: Wake) -> None:
        self.starts += 1
        await self.misbehave(wake)

    async def misbehave(self, wake: Wake) -> None:
        raise NotImplementedError


class Raises(Misbehaving):
    async def misbehave(self, wake: Wake) -> None:
        raise LookupError("no idea")


class Returns(Misbehaving):
    async def misbehave(self, wake: Wake) -> None:
        return


class FallsSilent(Misbehaving):
    promises_wake = True

    async def misbehave(self, wake: Wake) -> None:
        await asyncio.Event().wait()


class WakesWithoutEnd(Misbehaving):
    async def misbehave(self, wake: Wake) -> None:
        while True:
            wake("again")
            await asyncio.sleep(0)


@pytest.mark.parametrize("strategy", [Raises(), Returns(), WakesWithoutEnd()])
async def test_a_misbehaving_strategy_does_not_stop_polling(
    polling: NodeSettings, store: Store, strategy: Misbehaving
) -> None:
    with capture_logs() as logs:
        async with SyncedNode(polling, strategy).running() as node:
            for _ in range(3):
                await node.reaches(await write(store))
    problems = [log["problem"] for log in logs if "problem" in log and log["log_level"] != "debug"]
    assert len(problems) <= 1


async def test_a_strategy_that_fails_is_restarted_and_named_once(polling: NodeSettings) -> None:
    strategy = Raises()
    with capture_logs() as logs:
        async with SyncedNode(polling, strategy).running() as node:
            await until(lambda: strategy.starts >= 3)
    warnings = [log for log in logs if log["log_level"] == "warning"]
    assert [log["problem"] for log in warnings] == ["LookupError: no idea"]
    assert node.status.strategy_restarts >= 2


async def test_a_strategy_that_promised_to_announce_and_does_not_is_restarted(
    polling: NodeSettings, store: Store
) -> None:
    strategy = FallsSilent()
    with capture_logs() as logs:
        async with SyncedNode(polling, strategy).running() as node:
            while strategy.starts < 2:
                await node.reaches(await write(store))
                await asyncio.sleep(0.01)
    assert "it announced none of the last versions" in [log.get("problem") for log in logs]


async def test_a_strategy_that_refuses_to_end_does_not_hold_up_the_end(
    polling: NodeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sync.watchdog.PATIENCE_S", 0.02)
    may_end = asyncio.Event()

    class Clings(Misbehaving):
        async def misbehave(self, wake: Wake) -> None:
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue

    before = asyncio.all_tasks()
    with capture_logs() as logs:
        async with SyncedNode(polling, strategy := Clings()).running():
            await until(lambda: strategy.starts > 0)
    may_end.set()
    assert "a task does not end though cancelled" in [log["event"] for log in logs]
    await asyncio.gather(*asyncio.all_tasks() - before - {asyncio.current_task()})


# -- a server that goes and comes back


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    with TemporaryDirectory(prefix="gateway-sync-") as directory:
        Path(directory).chmod(0o711)
        server = EmbeddedPostgres(Path(directory) / "postgres", durable=False)
        migrate.upgrade(server.start())
        yield server
        server.stop()


@pytest.mark.parametrize("strategy", ["poll", "notify"])
async def test_a_restarted_server_is_said_once_and_caught_up_with(
    polling: NodeSettings, own_server: EmbeddedPostgres, strategy: str
) -> None:
    url = own_server.url()
    on_it = polling.model_copy(update={"database_url": SecretStr(url), "strategy": strategy})
    with capture_logs() as logs:
        async with SyncedNode(on_it).running() as node:
            await run_sql(url, "INSERT INTO services (host) VALUES ('before')")
            await node.reaches(1)
            served = node.mirror.contents
            await asyncio.to_thread(own_server.stop)
            await node.becomes("database unavailable")
            failures = node.status.failures
            await until(lambda: node.status.failures >= failures + 3)
            assert node.mirror.contents is served
            await asyncio.to_thread(own_server.start)
            await run_sql(url, "INSERT INTO services (host) VALUES ('after')")
            await node.reaches(2)
            assert node.mirror.contents == await tables(url)
    events: list[Any] = [log["event"] for log in logs]
    assert events.count("sync fails, the last good configuration stays") == 1
    assert events.count("sync works again") == 1


async def test_a_load_that_breaks_off_is_not_taken_for_deletions(
    polling: NodeSettings, database_url: str
) -> None:
    await run_sql(
        database_url, "INSERT INTO services (host) SELECT 'h' FROM generate_series(1, 300)"
    )
    async with SyncedNode(polling).running() as node:
        served = node.mirror.contents
        apply = node.mirror.apply

        async def apply_while_the_connection_breaks(load: Load) -> None:
            await run_sql(
                database_url,
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            node.mirror.apply = apply
            await apply(load)

        node.mirror.apply = apply_while_the_connection_breaks
        await run_sql(database_url, "UPDATE services SET port = 81")
        await node.becomes("database unavailable")
        assert node.mirror.contents is served
        await node.reaches(2)
        assert len(node.mirror.contents) == 300

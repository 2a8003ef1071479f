"""What a control plane has for its data planes, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from gateway.hybrid.hub import DataPlaneHub
from gateway.hybrid.protocol import decode_answered
from gateway.hybrid.shared_loads import SharedLoads
from gateway.settings import NodeSettings
from gateway.store.errors import StoreUnavailable
from gateway.store.source import Batch, DatabaseSource, Load, VersionMark
from gateway.store.store import Store
from gateway.sync.loop import SyncLoop
from gateway.sync.poll import PollStrategy
from gateway.sync.source import Source
from gateway.sync.status import SyncStatus
from tests.store.rows import route, service
from tests.sync.mirror import run_sql, until

SELDOM_S = 3600


class CountedSource(Source):
    """The database, which counts what it is asked, and can be told not to answer."""

    def __init__(self, settings: NodeSettings) -> None:
        self._source = DatabaseSource(settings)
        self.questions = 0
        self.loads = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def seen(self) -> VersionMark:
        self.questions += 1
        await self.may_answer.wait()
        return await self._source.seen()

    def load(self, since: VersionMark | None) -> AbstractAsyncContextManager[Load | None]:
        self.loads += 1
        return self._source.load(since)

    async def close(self) -> None:
        await self._source.close()


class Hub:
    """A hub at the end of a loop that syncs only when it must."""

    def __init__(self, settings: NodeSettings) -> None:
        settings = settings.model_copy(update={"poll_interval_s": SELDOM_S, "sync_timeout_s": 5.0})
        self.database = CountedSource(settings)
        self.further = CountedSource(settings)
        self.hub = DataPlaneHub(SharedLoads(self.further, 30.0), self._sync_now, timeout_s=2.0)
        self.loop = SyncLoop(
            self.database, PollStrategy(settings), self.hub, settings, SyncStatus("poll")
        )

    async def _sync_now(self) -> None:
        await self.loop.sync_now()

    async def load(self, since: VersionMark | None) -> tuple[str, list[Batch]] | None:
        """Return kind and batches of a load."""
        async with self.hub.load(since) as transfer:
            if transfer is None:
                return None
            batches = [decode_answered(message) async for message in transfer.messages]
            assert transfer.mark == self.hub.mark
            return transfer.kind, batches  # type: ignore[return-value]


@pytest.fixture
async def hub(settings: NodeSettings) -> AsyncIterator[Hub]:
    hub = Hub(settings)
    await hub.loop.first_load()
    task = asyncio.create_task(hub.loop.run())
    yield hub
    await hub.hub.close()
    task.cancel()
    await asyncio.wait({task})
    await hub.database.close()
    await hub.further.close()


async def added(store: Store) -> int:
    async with store.write() as tx:
        await tx.insert("services", service())
    return tx.version


# -- the newest version


async def test_what_was_written_before_the_question_is_in_the_answer(
    hub: Hub, store: Store
) -> None:
    for _ in range(3):
        version = await added(store)
        assert (await hub.hub.seen()).version == version


async def test_many_data_planes_share_a_question(hub: Hub) -> None:
    before = hub.database.questions
    await asyncio.gather(*(hub.hub.seen() for _ in range(1000)))
    assert hub.database.questions - before <= 2


async def test_who_asks_while_a_question_is_under_way_waits_for_another(
    hub: Hub, store: Store
) -> None:
    hub.database.may_answer.clear()
    early = asyncio.create_task(hub.hub.seen())
    before = hub.database.questions
    await until(lambda: hub.database.questions > before)
    version = await added(store)
    late = asyncio.create_task(hub.hub.seen())
    hub.database.may_answer.set()
    await early
    assert (await late).version == version


async def test_a_database_that_does_not_answer_is_said_in_time(hub: Hub) -> None:
    hub.hub._timeout_s = 0.05
    hub.database.may_answer.clear()
    with pytest.raises(StoreUnavailable, match=r"has not answered for 0\.05 s"):
        await hub.hub.seen()
    hub.database.may_answer.set()


async def test_nothing_is_known_before_the_first_load(settings: NodeSettings) -> None:
    async def sync_now() -> None:
        return

    hub = DataPlaneHub(SharedLoads(CountedSource(settings), 30.0), sync_now, timeout_s=1.0)
    with pytest.raises(StoreUnavailable, match="not loaded anything"):
        await hub.seen()


# -- what leads there


async def test_a_change_set_is_told_from_memory_to_whoever_asks(hub: Hub, store: Store) -> None:
    start = hub.hub.mark
    async with store.write() as tx:
        parent = await tx.insert("services", service(name="told"))
        await tx.insert("routes", route(parent["id"]))
    await hub.hub.seen()
    for _ in range(3):
        kind, batches = await hub.load(start) or ("", [])
        assert kind == "changes"
        assert [(batch.table, len(batch.rows)) for batch in batches] == [
            ("services", 1),
            ("routes", 1),
        ]
        assert batches[0].rows == [parent]
    assert hub.further.loads == 0


async def test_who_missed_some_change_sets_gets_them_one_after_the_other(
    hub: Hub, store: Store
) -> None:
    start = hub.hub.mark
    async with store.write() as tx:
        parent = await tx.insert("services", service(name="first"))
    await hub.hub.seen()
    async with store.write() as tx:
        await tx.update("services", parent["id"], {"name": "second"})
    await hub.hub.seen()
    _, batches = await hub.load(start) or ("", [])
    assert [row["name"] for batch in batches for row in batch.rows] == ["first", "second"]
    assert hub.further.loads == 0


async def test_who_is_up_to_date_gets_nothing(hub: Hub) -> None:
    assert await hub.load(hub.hub.mark) is None
    assert hub.further.loads == 0


async def test_everything_is_read_from_the_database_for_who_has_nothing(
    hub: Hub, store: Store
) -> None:
    await added(store)
    await hub.hub.seen()
    kind, batches = await hub.load(None) or ("", [])
    assert kind == "full"
    assert sum(len(batch.rows) for batch in batches) == 1
    assert hub.further.loads == 1


async def test_a_version_from_before_this_control_plane_is_read_from_the_change_log(
    settings: NodeSettings, store: Store
) -> None:
    source = DatabaseSource(settings)
    before = await source.seen()
    await source.close()
    await added(store)
    late = Hub(settings)
    await late.loop.first_load()
    kind, batches = await late.load(before) or ("", [])
    assert kind == "changes"
    assert sum(len(batch.rows) for batch in batches) == 1
    await late.database.close()
    await late.further.close()


async def test_after_a_restore_everybody_gets_everything(
    hub: Hub, store: Store, database_url: str
) -> None:
    await added(store)
    await hub.hub.seen()
    old = hub.hub.mark
    await run_sql(database_url, "UPDATE config_version SET epoch = gen_random_uuid(), version = 0")
    assert (await hub.hub.seen()).version == 0
    async with hub.hub.load(old) as transfer:
        assert transfer is not None
        assert transfer.kind == "full"
        assert transfer.head().reason == "this is another database"
        assert [message async for message in transfer.messages]


async def test_versions_are_announced_once_they_can_be_had(hub: Hub, store: Store) -> None:
    told: list[VersionMark] = []
    hub.hub.announce_to.add(told.append)
    version = await added(store)
    await hub.hub.seen()
    assert [mark.version for mark in told] == [version]
    hub.hub.announce_to.discard(told.append)
    await added(store)
    await hub.hub.seen()
    assert len(told) == 1

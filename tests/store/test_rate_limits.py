"""Counters in the database: what several nodes add up there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from gateway.plugins.counter_store import Count, CounterStoreError, Key, ScopeKey
from gateway.settings import NodeSettings
from gateway.store.rate_limits import RateLimitCounters
from gateway.store.store import Store
from tests.scenarios.sql import rows, run_sql

SCOPE = ScopeKey(UUID(int=1), None)
START = datetime(2026, 11, 26, 10, 59, tzinfo=UTC).timestamp()


@pytest.fixture
def counters(store: Store) -> RateLimitCounters:
    return RateLimitCounters(store.autocommit)


def count(key: Key, amount: int = 1, *, start: float = START, scope: ScopeKey = SCOPE) -> Count:
    return Count(scope, key, "minute", 60, start, start + 60, amount)


async def used(counters: RateLimitCounters, *counts: Count) -> list[int | None]:
    return list((await counters.add(counts)).counted)


async def test_counts_add_up(counters: RateLimitCounters):
    assert await used(counters, count(7), count(b"192.0.2.1", 5)) == [1, 5]
    assert await used(counters, count(b"192.0.2.1"), count(8), count(7, 0)) == [6, 1, 1]


async def test_who_is_counted_is_told_apart(counters: RateLimitCounters):
    number = uuid4().int
    several = [
        count(number),
        count(number.to_bytes(16)),
        count(number, scope=ScopeKey(None, None)),
        count(number, scope=ScopeKey(None, UUID(int=1))),
        count(number, scope=ScopeKey(UUID(int=1), None, "")),
        count(number, scope=ScopeKey(UUID(int=1), None, "video")),
        count(number)._replace(period="hour"),
    ]
    assert await used(counters, *several) == [1] * len(several)
    assert await used(counters, *several) == [2] * len(several)


async def test_with_nothing_to_count_it_tells_the_time_and_the_nodes(counters: RateLimitCounters):
    totals = await counters.add([])
    assert (totals.counted, totals.nodes) == ([], 0)
    assert abs(totals.now - datetime.now(UTC).timestamp()) < 60


async def test_nodes_that_serve_are_counted(counters: RateLimitCounters, database_url: str):
    for role, age in (("traditional", 1), ("traditional", 100), ("control-plane", 1)):
        await run_sql(
            database_url,
            "INSERT INTO nodes (id, name, proxy_address, admin_address, status_address, "
            "started_at, last_seen_at, applied_version, strategy, software_version, role) "
            "SELECT gen_random_uuid(), 'n', '', '', '', now(), "
            f"now() - interval '{age} seconds', 1, 'poll', '1', '{role}'",
        )
    assert (await counters.add([])).nodes == 1


async def test_a_counter_goes_on_to_the_next_window_and_not_back(counters: RateLimitCounters):
    assert await used(counters, count(7, 5)) == [5]
    assert await used(counters, count(7, 1, start=START + 60)) == [1]
    assert await used(counters, count(7, 1)) == [None]  # too late: nobody asks for that any more
    assert await used(counters, count(7, 1, start=START + 60)) == [2]


async def test_a_window_of_the_future_gives_way(counters: RateLimitCounters):
    future = datetime.now(UTC).timestamp() + 3600
    assert await used(counters, count(7, 5, start=future)) == [5]
    assert await used(counters, count(7)) == [1]


async def test_those_who_add_the_same_at_the_same_time_do_not_lock_each_other_out(
    counters: RateLimitCounters,
):
    keys = list(range(200))
    both = [[count(key) for key in keys], [count(key) for key in reversed(keys)]] * 4
    await asyncio.gather(*(counters.add(counts) for counts in both))
    assert await used(counters, *(count(key, 0) for key in keys)) == [8] * len(keys)


async def test_what_is_over_is_forgotten(
    counters: RateLimitCounters, store: Store, database_url: str
):
    now = datetime.now(UTC).timestamp()
    await counters.add([count(key, start=START) for key in range(2500)])
    await counters.add([count(key, start=now) for key in (b"a", b"b")])
    await store.tidy()
    assert await rows(database_url, "SELECT count(*) FROM rate_limit_counters") == [(2,)]


async def test_a_database_that_is_away(settings: NodeSettings):
    away = settings.model_copy(
        update={"database_url": SecretStr("postgresql://127.0.0.1:1/nobody")}
    )
    store = Store(away)
    await store.start()
    with pytest.raises(CounterStoreError):
        await RateLimitCounters(store.autocommit).add([])
    await store.stop()

"""The policy cluster: nodes count together in the database, and no request waits for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from gateway.lab.fault_proxy import FaultProxy
from gateway.plugins.counter_store import Count, Totals
from gateway.plugins.rate_limiting.common import PAUSE_S
from gateway.plugins.rate_limiting.ledger import AHEAD_AT_LEAST
from gateway.settings import NodeSettings
from gateway.store.rate_limits import RateLimitCounters
from gateway.store.store import Store
from tests.plugins.rate_limiting.cluster import Member, cluster_of, eventually
from tests.scenarios.sql import rows, run_sql

LIMIT = {"policy": "cluster", "year": 30}
A_NODE = """
    INSERT INTO nodes (id, name, proxy_address, admin_address, status_address, started_at,
        last_seen_at, strategy, software_version)
    VALUES (gen_random_uuid(), 'n', '', '', '', now(), now() + interval '1 hour', 'poll', '1')
"""


@pytest.fixture
def counters(store: Store) -> RateLimitCounters:
    return RateLimitCounters(store.autocommit)


def left(answer: httpx.Response) -> int:
    return int(answer.headers["X-RateLimit-Remaining-Year"])


async def test_all_nodes_count_together(counters: RateLimitCounters):
    async with cluster_of([Member(counters, **LIMIT) for _ in range(3)]) as nodes:
        seen = []
        for number in range(30):
            node = nodes[number % 3]
            answer = await node.ask("GET", "/")
            assert answer.status_code == 200
            seen.append(left(answer))
            await node.settled()
        # Each knows what the others had told when it last told something itself.
        assert seen[::3] == [29, *range(28, 1, -3)]
        assert [(await node.ask("GET", "/")).status_code for node in nodes] == [200, 200, 429]
        refusal = await nodes[2].ask("GET", "/")
    assert (refusal.status_code, left(refusal)) == (429, 0)
    assert int(refusal.headers["Retry-After"]) > 3600


async def test_hammered_at_once_they_keep_to_the_bound(
    counters: RateLimitCounters, database_url: str
):
    await run_sql(database_url, *[A_NODE] * 3)
    async with cluster_of([Member(counters, **LIMIT) for _ in range(3)]) as nodes:
        statuses: Counter[int] = Counter()
        for _ in range(5):
            for some in await asyncio.gather(*(node.statuses(20) for node in nodes)):
                statuses.update(some)
            for node in nodes:
                await node.settled()
        passed = sum(len(node.received) for node in nodes)
        assert statuses == {200: passed, 429: 300 - passed}
        assert 30 <= passed <= 30 + 2 * AHEAD_AT_LEAST


async def test_who_has_passed_ahead_of_the_others_may_try_again_soon(
    counters: RateLimitCounters, database_url: str
):
    await run_sql(database_url, *[A_NODE] * 5)
    async with cluster_of([Member(counters, **LIMIT)]) as (node,):
        answers = await asyncio.gather(*(node.ask("GET", "/") for _ in range(20)))
        held = [answer for answer in answers if answer.status_code == 429]
        assert {answer.headers["Retry-After"] for answer in held} <= {"1"}
        assert all(left(answer) > 0 for answer in held)
        await node.settled()
        assert (await node.ask("GET", "/")).status_code == 200


async def test_a_new_window_begins_with_nothing(counters: RateLimitCounters):
    async with cluster_of([Member(counters, policy="cluster", second=2)]) as (node,):
        begun_at = node.settler.now()
        while node.settler.now() - begun_at < 3:
            assert (await node.statuses(1)) in ([200], [429])
        windows = int(node.settler.now()) - int(begun_at) + 1
        assert 2 * (windows - 2) <= len(node.received) <= 2 * windows


async def test_a_node_that_stops_tells_what_it_knows(
    counters: RateLimitCounters, database_url: str
):
    async with cluster_of([Member(counters, **LIMIT)]) as (node,):
        await node.statuses(5)
    assert await rows(database_url, "SELECT used FROM rate_limit_counters") == [(5,)]


async def test_counts_outlive_a_change_of_the_limit(counters: RateLimitCounters):
    async with cluster_of([Member(counters, **LIMIT)]) as (node,):
        await node.statuses(5)
        node.limit["config"] |= {"year": 10}
        await node.apply()
        assert left(await node.ask("GET", "/")) == 4


class Numbered(RateLimitCounters):
    """Counts its statements."""

    statements = 0

    async def add(self, counts: Sequence[Count]) -> Totals:
        self.statements += 1
        return await super().add(counts)


async def test_many_requests_make_few_statements(store: Store):
    counters = Numbered(store.autocommit)
    async with cluster_of([Member(counters, policy="cluster", year=10_000)]) as (node,):
        begun_at = monotonic()
        for _ in range(10):
            await node.statuses(30)
        await node.settled()
        assert counters.statements <= 4 + (monotonic() - begun_at) / PAUSE_S


async def test_nobody_settles_for_limits_that_are_gone(
    counters: RateLimitCounters, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.plugins.rate_limiting.settler._IDLE_S", 0)
    async with cluster_of([Member(counters, **LIMIT)]) as (node,):
        await node.statuses(3)
        settler = node.settler
        node.remove("plugins", node.limit)
        await node.apply()
        await eventually(lambda: not settler.is_running)
        assert settler.ledger.untold == 0
        node.restore()
        await node.apply()
        assert left(await node.ask("GET", "/")) <= 30 - 1
        assert settler.is_running


# -- clocks


@pytest.mark.parametrize("wrong_s", [-5, 5])
async def test_windows_go_by_the_clock_of_the_database(counters: RateLimitCounters, wrong_s: float):
    async with cluster_of([Member(counters, wrong_s=wrong_s, **LIMIT)]) as (node,):
        earlier = datetime.now(UTC).timestamp()
        told = (await node.settler.add([])).now
        assert earlier - 0.001 <= told <= node.settler.now() + 0.001
        assert abs(node.settler.now() - datetime.now(UTC).timestamp()) < 1


async def test_nodes_whose_clocks_differ_are_in_the_same_window(counters: RateLimitCounters):
    members = [Member(counters, wrong_s=wrong_s, **LIMIT) for wrong_s in (-90_000, 0, 90_000)]
    async with cluster_of(members) as nodes:
        for node in nodes:
            assert await node.statuses(3) == [200] * 3
            await node.settled()
        assert left(await nodes[2].ask("GET", "/")) == 30 - 10


# -- the database away


@asynccontextmanager
async def served_behind(
    proxy: FaultProxy, settings: NodeSettings, **config: Any
) -> AsyncIterator[Member]:
    """Run a node that reaches the database through a proxy."""
    url = proxy.url(settings.database_url.get_secret_value())
    store = Store(settings.model_copy(update={"database_url": SecretStr(url)}))
    await store.start()
    try:
        async with cluster_of([Member(RateLimitCounters(store.autocommit), **config)]) as (node,):
            yield node
    finally:
        await store.stop()


@pytest.fixture
async def way(settings: NodeSettings) -> AsyncIterator[FaultProxy]:
    async with FaultProxy.before_database(settings.database_url.get_secret_value()) as proxy:
        yield proxy


async def test_without_the_database_requests_pass_uncounted(
    way: FaultProxy, settings: NodeSettings, database_url: str
):
    async with served_behind(way, settings, **LIMIT) as node:
        with capture_logs() as log:
            way.cut()
            await node.statuses(1)
            await eventually(lambda: node.settler.is_away)
            answers = [await node.ask("GET", "/") for _ in range(40)]
            assert {answer.status_code for answer in answers} == {200}
            assert not any("RateLimit-Limit" in answer.headers for answer in answers)
            way.heal()
            await eventually(lambda: not node.settler.is_away)
        await node.settled()
        assert (await node.ask("GET", "/")).status_code == 429  # by now all is counted
    ours = [line["event"] for line in log if "counters" in line["event"]]
    assert ours == ["counters cannot be reached", "counters can be reached again"]
    assert await rows(database_url, "SELECT used FROM rate_limit_counters") == [(41,)]


async def test_without_the_database_requests_fail_where_that_is_asked_for(
    way: FaultProxy, settings: NodeSettings
):
    async with served_behind(way, settings, fault_tolerant=False, **LIMIT) as node:
        way.cut()
        await node.statuses(1)
        await eventually(lambda: node.settler.is_away)
        answer = await node.ask("GET", "/")
        assert answer.status_code == 500
        assert answer.json()["message"] == "An unexpected error occurred"
        way.heal()
        await eventually(lambda: not node.settler.is_away)
        assert (await node.ask("GET", "/")).status_code == 200


async def test_no_request_waits_for_a_database_that_does_not_answer(
    way: FaultProxy, settings: NodeSettings
):
    async with served_behind(way, settings, **LIMIT) as node:
        way.stall()
        assert await node.statuses(5) == [200] * 5
        await way.has_stalled()
        assert await node.statuses(5) == [200] * 5
        way.heal()
        await node.settled()


async def test_a_database_that_does_not_answer_for_long_is_away(
    way: FaultProxy, settings: NodeSettings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.plugins.rate_limiting.common._DATABASE_PATIENCE_S", 0.3)
    async with served_behind(way, settings, **LIMIT) as node:
        way.stall()
        await node.statuses(1)
        await eventually(lambda: node.settler.is_away)
        assert "RateLimit-Limit" not in (await node.ask("GET", "/")).headers
        way.heal()
        await eventually(lambda: not node.settler.is_away)
        assert left(await node.ask("GET", "/")) <= 30 - 3


async def test_a_node_without_the_database_cannot_count_there():
    with pytest.raises(ValueError, match="a data plane has none: take 'redis', or 'local'"):
        async with Member(**LIMIT):
            pass

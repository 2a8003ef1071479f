"""response-ratelimiting, asked through the gateway: what services use up, and who is held back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response as Answer

from gateway.plugins.contract import NodeServices
from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.rate_limiting.common import CommonCounters
from gateway.plugins.response_ratelimiting import ResponseRateLimiting
from gateway.store.rate_limits import RateLimitCounters
from gateway.store.store import Store
from gateway.testing import Serving
from tests.plugins.rate_limiting.clocks import Clock, at
from tests.plugins.rate_limiting.cluster import Member, cluster_of, eventually
from tests.plugins.rate_limiting.redis_server import client_of, needs_redis, redis_server

CLOCK = Clock()
VIDEO = {"video": {"minute": 5, "year": 20}}


class Limiting(ResponseRateLimiting):
    """Counts by a clock that stands still."""

    @classmethod
    def share(cls, node: NodeServices) -> CommonCounters:
        return CommonCounters(node, CLOCK)


@pytest.fixture(autouse=True)
def clock() -> Clock:
    CLOCK.now = at("2026-11-26 10:59:30")
    return CLOCK


async def use(gateway: Serving, cost: str, **headers: str) -> httpx.Response:
    """Ask for something that costs so much."""
    gateway.service.answer = Answer("hello", headers={"X-Kong-Limit": cost, "X-Other": "1"})
    return await gateway.ask("GET", "/", headers=headers)


def told(answer: httpx.Response) -> dict[str, int]:
    """Return what an answer tells of limits."""
    start = "x-ratelimit-"
    return {
        name.removeprefix(start): int(value)
        for name, value in answer.headers.items()
        if name.startswith(start)
    }


async def test_what_the_service_says_it_used_is_counted(clock: Clock):
    async with Serving(Limiting, limits=VIDEO) as gateway:
        answer = await use(gateway, "video=2")
        assert (answer.status_code, answer.text) == (200, "hello")
        assert "X-Kong-Limit" not in answer.headers
        assert answer.headers["X-Other"] == "1"
        assert told(answer) == {
            "limit-video-minute": 5,
            "remaining-video-minute": 3,
            "limit-video-year": 20,
            "remaining-video-year": 18,
            "remaining-video": 5,
        }
        answer = await use(gateway, "image=7")  # of which nobody has limited anything
        assert told(answer)["remaining-video-minute"] == 3
        clock.now += 60
        answer = await use(gateway, "video=1")
        assert told(answer)["remaining-video-minute"] == 4
        assert told(answer)["remaining-video-year"] == 17


async def test_a_response_that_costs_what_is_not_left_is_held_back():
    async with Serving(Limiting, limits=VIDEO) as gateway:
        await use(gateway, "video=7")  # it is let through: something was left
        answer = await use(gateway, "video=1")
        assert (answer.status_code, answer.content) == (429, b"")
        assert told(answer)["remaining-video-minute"] == 0
        assert "X-Kong-Limit" not in answer.headers
        answer = await use(gateway, "")
        assert (answer.status_code, answer.text) == (200, "hello")
        assert told(answer)["remaining-video-year"] == 13  # what was held back is not counted
        assert len(gateway.received) == 3


async def test_requests_may_be_refused_when_nothing_is_left():
    limits = VIDEO | {"image": {"minute": 1}}
    async with Serving(Limiting, limits=limits, block_on_first_violation=True) as gateway:
        await use(gateway, "image=1")
        answer = await use(gateway, "video=1")
        assert answer.status_code == 429
        assert answer.json()["message"] == "API rate limit exceeded for 'image'"
        assert told(answer)["remaining-image-minute"] == 0
        assert len(gateway.received) == 1


async def test_several_limits_and_how_costs_may_be_written():
    limits = {"video": {"minute": 10}, "image": {"minute": 10}}
    async with Serving(Limiting, limits=limits) as gateway:
        answer = await use(gateway, " video = 2 ,image=1.5,sound=3,,=,video,image=,x=y=z")
        assert told(answer)["remaining-video-minute"] == 8
        assert told(answer)["remaining-image-minute"] == 8
        for nonsense in ("video=-3", "video=nan", "video=inf", "video=1e999", "video", "=", "\t"):
            answer = await use(gateway, nonsense)
            assert (answer.status_code, told(answer)["remaining-video-minute"]) == (200, 8)
        answer = await use(gateway, "video=1e30")
        assert told(answer)["remaining-video-minute"] == 0


async def test_clients_need_not_be_told():
    async with Serving(Limiting, limits=VIDEO, hide_client_headers=True) as gateway:
        answers = [await use(gateway, "video=5") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert [told(answer) for answer in answers] == [{}, {}]


async def test_what_the_service_tells_of_limits_is_not_ours():
    async with Serving(Limiting, limits=VIDEO) as gateway:
        theirs = {"x-ratelimit-remaining-video-minute": "9", "X-RateLimit-Limit-Minute": "8"}
        gateway.service.answer = Answer("hello", headers=theirs)
        answer = await gateway.ask("GET", "/")
    assert told(answer)["remaining-video-minute"] == 5
    assert told(answer)["limit-minute"] == 8


async def test_another_header():
    async with Serving(Limiting, limits=VIDEO, header_name="X-Cost") as gateway:
        gateway.service.answer = Answer("hello", headers={"x-cost": "video=1"})
        answer = await gateway.ask("GET", "/")
    assert told(answer)["remaining-video-minute"] == 4
    assert "X-Cost" not in answer.headers


async def test_each_consumer_has_its_own():
    gateway = Serving(Limiting, limits=VIDEO)
    gateway.use(KeyAuth)
    gateway.consumer("bob", keyauth_credentials={"key": "one"})
    gateway.consumer("ann", keyauth_credentials={"key": "two"})
    async with gateway:
        left = [
            told(await use(gateway, "video=2", apikey=key))["remaining-video-minute"]
            for key in ("one", "two", "one")
        ]
    assert left == [3, 3, 1]


async def test_counts_outlive_a_change_of_the_limits():
    gateway = Serving(Limiting, enabled=False)
    ours = gateway.use(Limiting, limits=VIDEO)
    async with gateway:
        await use(gateway, "video=2")
        limits = {"video": {"minute": 9}, "image": {"minute": 9}}
        ours["config"] = Limiting.Config(limits=limits).model_dump(mode="json")
        await gateway.apply()
        answer = await use(gateway, "video=1,image=1")
    assert told(answer)["remaining-video-minute"] == 6
    assert told(answer)["remaining-image-minute"] == 8


# -- together with other nodes


async def test_in_the_database(store: Store):
    counters = RateLimitCounters(store.autocommit)
    config: dict[str, Any] = {"policy": "cluster", "limits": VIDEO}
    members = [Member(counters, ResponseRateLimiting, **config) for _ in range(2)]
    async with cluster_of(members) as (one, other):
        await use(one, "video=2")
        await one.settled()
        await use(other, "")
        await other.settled()
        assert told(await use(other, "video=1"))["remaining-video-year"] == 17


@needs_redis
async def test_in_redis(tmp_path: Path):
    async with redis_server(tmp_path) as port:
        config: dict[str, Any] = {"policy": "redis", "limits": {"video": {"year": 20}}}
        config["redis"] = {"host": "127.0.0.1", "port": port}
        members = [Member(None, ResponseRateLimiting, **config) for _ in range(2)]
        async with cluster_of(members) as (one, other):
            await use(one, "video=2")
            await one.settled()
            assert told(await use(other, "video=1"))["remaining-video-year"] == 17
            await other.settled()
        async with client_of(port) as redis:
            (key,) = await redis.keys()
            assert key.endswith(":video:year")
            assert await redis.get(key) == "3"


@pytest.mark.parametrize("is_tolerant", [True, False])
async def test_without_the_counters(is_tolerant: bool):
    redis = {"host": "127.0.0.1", "port": 1}
    config: dict[str, Any] = {"policy": "redis", "redis": redis, "fault_tolerant": is_tolerant}
    async with Member(None, ResponseRateLimiting, limits=VIDEO, **config) as node:
        await eventually(lambda: node.settler.is_away)
        answer = await use(node, "video=1")
    assert answer.status_code == (200 if is_tolerant else 500)
    assert told(answer) == {}
    assert "X-Kong-Limit" not in answer.headers


async def test_a_node_without_the_database_cannot_count_there():
    with pytest.raises(ValueError, match="a data plane has none"):
        async with Member(None, ResponseRateLimiting, policy="cluster", limits=VIDEO):
            pass

"""rate-limiting, asked through the gateway: who is refused when, and what the answers tell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.responses import Response as Answer

from gateway.plugins.contract import NodeServices
from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.rate_limiting import RateLimiting
from gateway.plugins.rate_limiting.common import CommonCounters
from gateway.testing import Serving
from tests.plugins.rate_limiting.clocks import Clock, at

CLOCK = Clock()


class Limiting(RateLimiting):
    """Counts by a clock that stands still."""

    @classmethod
    def share(cls, node: NodeServices) -> CommonCounters:
        return CommonCounters(node, CLOCK)


@pytest.fixture(autouse=True)
def clock() -> Clock:
    CLOCK.now = at("2026-11-26 10:59:30")
    return CLOCK


def told(answer: httpx.Response) -> dict[str, str]:
    """Return what an answer tells of limits."""
    names = ("ratelimit", "x-ratelimit", "retry-after")
    return {name: value for name, value in answer.headers.items() if name.startswith(names)}


def lines(
    limits: Mapping[str, tuple[int, int]], scarcest: str, reset_s: int, **further: Any
) -> dict[str, str]:
    """Return what an answer should tell."""
    expected: dict[str, Any] = {}
    for period, (limit, left) in limits.items():
        expected[f"x-ratelimit-limit-{period}"] = limit
        expected[f"x-ratelimit-remaining-{period}"] = left
    limit, left = limits[scarcest]
    expected |= {"ratelimit-limit": limit, "ratelimit-remaining": left, "ratelimit-reset": reset_s}
    return {name: str(value) for name, value in (expected | further).items()}


async def test_the_example_of_the_reference(clock: Clock):
    async with Serving(Limiting, minute=5, hour=100) as gateway:
        for number in range(1, 6):
            answer = await gateway.ask("GET", "/")
            assert answer.status_code == 200
            limits = {"minute": (5, 5 - number), "hour": (100, 100 - number)}
            assert told(answer) == lines(limits, "minute", 30)
        for _ in range(2):  # what is refused does not count
            answer = await gateway.ask("GET", "/")
            limits = {"minute": (5, 0), "hour": (100, 95)}
            assert answer.status_code == 429
            assert answer.json()["message"] == "API rate limit exceeded"
            assert told(answer) == lines(limits, "minute", 30, **{"retry-after": 30})
        assert len(gateway.received) == 5
        clock.now = at("2026-11-26 11:00:00")
        answer = await gateway.ask("GET", "/")
        limits = {"minute": (5, 4), "hour": (100, 99)}
        assert told(answer) == lines(limits, "minute", 60)


async def test_by_the_clock_of_the_node():
    async with Serving(RateLimiting, year=1) as gateway:
        statuses = [(await gateway.ask("GET", "/")).status_code for _ in range(2)]
    assert statuses == [200, 429]


async def test_names_of_headers():
    async with Serving(Limiting, second=1, year=2) as gateway:
        answer = await gateway.ask("GET", "/")
        refusal = await gateway.ask("GET", "/")
    assert b"X-RateLimit-Limit-Second" in dict(answer.headers.raw)
    assert b"X-RateLimit-Remaining-Year" in dict(answer.headers.raw)
    assert b"RateLimit-Reset" in dict(answer.headers.raw)
    assert b"Retry-After" in dict(refusal.headers.raw)


PERIODS = ("second", "minute", "hour", "day", "month", "year")


@pytest.mark.parametrize(
    ("period", "reset_s"),
    [
        ("second", 1),
        ("minute", 30),
        ("hour", 3600 - 3570),
        ("day", 86_400 - (10 * 3600 + 3570)),
        ("month", 2_592_000 - (25 * 86_400 + 10 * 3600 + 3570)),
        ("year", 31_536_000 - (329 * 86_400 + 10 * 3600 + 3570)),
    ],
)
async def test_every_period(period: str, reset_s: int):
    async with Serving(Limiting, **{period: 1}) as gateway:
        assert (await gateway.ask("GET", "/")).headers["RateLimit-Reset"] == str(reset_s)
        refusal = await gateway.ask("GET", "/")
    assert told(refusal) == lines({period: (1, 0)}, period, reset_s, **{"retry-after": reset_s})


async def test_on_the_31st_a_month_of_30_days_is_over_but_for_a_second(clock: Clock):
    clock.now = at("2026-12-31 12:00:00")
    async with Serving(Limiting, month=5) as gateway:
        assert (await gateway.ask("GET", "/")).headers["RateLimit-Reset"] == "1"


async def test_of_limits_with_as_much_left_the_longer_is_told():
    async with Serving(Limiting, second=2, minute=2, hour=3) as gateway:
        answer = await gateway.ask("GET", "/")
        assert answer.headers["RateLimit-Reset"] == "30"
        await gateway.ask("GET", "/")
        refusal = await gateway.ask("GET", "/")
    limits = {"second": (2, 0), "minute": (2, 0), "hour": (3, 1)}
    assert told(refusal) == lines(limits, "minute", 30, **{"retry-after": 30})


async def test_limits_with_a_fraction():
    async with Serving(Limiting, minute=1.5) as gateway:
        statuses = [(await gateway.ask("GET", "/")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_clients_need_not_be_told():
    async with Serving(Limiting, minute=1, hide_client_headers=True) as gateway:
        answers = [await gateway.ask("GET", "/") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert [told(answer) for answer in answers] == [{}, {}]


async def test_a_refusal_of_ones_own():
    async with Serving(Limiting, minute=1, error_code=503, error_message="later") as gateway:
        await gateway.ask("GET", "/")
        refusal = await gateway.ask("GET", "/")
    assert (refusal.status_code, refusal.json()["message"]) == (503, "later")


async def test_limits_that_the_service_tells_are_not_ours():
    async with Serving(Limiting, minute=5) as gateway:
        theirs = {"RateLimit-Limit": "7", "x-ratelimit-remaining-minute": "8", "X-Limit-A": "9"}
        gateway.service.answer = Answer("hello", headers=theirs)
        answer = await gateway.ask("GET", "/")
    assert told(answer) == lines({"minute": (5, 4)}, "minute", 30)
    assert answer.headers["X-Limit-A"] == "9"


# -- who is counted


async def left(gateway: Serving, path: str = "/", **headers: str) -> int:
    """Return what a request of this kind leaves of its minute."""
    answer = await gateway.ask("GET", path, headers=headers)
    assert answer.status_code == 200
    return int(answer.headers["X-RateLimit-Remaining-Minute"])


def serving(**config: Any) -> Serving:
    """Return a gateway with two keys of one consumer, and an anonymous one."""
    gateway = Serving(Limiting, {"trusted_ips": "127.0.0.1"}, minute=10, **config)
    gateway.use(KeyAuth, anonymous="nobody")
    bob = gateway.consumer("bob", keyauth_credentials={"key": "one"})
    gateway.entity("keyauth_credentials", consumer={"id": str(bob["id"])}, key="two")
    gateway.consumer("nobody")
    return gateway


ONE, TWO = {"apikey": "one"}, {"apikey": "two"}
HERE, THERE = {"X-Real-IP": "192.0.2.1"}, {"X-Real-IP": "2001:db8::1"}


async def test_by_consumer():
    async with serving() as gateway:
        ask = partial(left, gateway)
        assert [await ask(**ONE), await ask(**TWO), await ask(**ONE, **THERE)] == [9, 8, 7]
        assert [await ask(), await ask(**HERE)] == [9, 8]  # the anonymous consumer is one as well


async def test_by_consumer_without_one():
    async with Serving(Limiting, {"trusted_ips": "127.0.0.1"}, minute=10) as gateway:
        assert [await left(gateway, **HERE), await left(gateway, **THERE)] == [9, 9]
        assert await left(gateway, **HERE) == 8


async def test_by_credential():
    async with serving(limit_by="credential") as gateway:
        ask = partial(left, gateway)
        assert [await ask(**ONE), await ask(**TWO), await ask(**ONE)] == [9, 9, 8]
        assert [await ask(**HERE), await ask(**THERE), await ask(**HERE)] == [9, 9, 8]


async def test_by_address():
    async with serving(limit_by="ip") as gateway:
        ask = partial(left, gateway)
        assert [await ask(**HERE), await ask(**THERE), await ask(**HERE, **ONE)] == [9, 9, 8]
        assert await ask(**{"X-Real-IP": "::ffff:192.0.2.1"}) == 7


async def test_an_address_that_nobody_trusted_says_is_not_taken():
    async with Serving(Limiting, minute=10, limit_by="ip") as gateway:
        assert [await left(gateway, **HERE), await left(gateway, **THERE)] == [9, 8]


async def test_by_service():
    async with serving(limit_by="service") as gateway:
        assert [await left(gateway, **HERE), await left(gateway, **THERE)] == [9, 8]


async def test_by_header():
    async with serving(limit_by="header", header_name="X-Team") as gateway:
        ask = partial(left, gateway)
        red, long = {"X-Team": "red"}, {"x-team": "r" * 5000}
        assert [await ask(**red, **HERE), await ask(**red, **THERE)] == [9, 8]
        assert [await ask(**long), await ask(**long), await ask(**{"X-Team": ""})] == [9, 8, 9]
        assert [await ask(**HERE), await ask(**{"X-Team": "192.0.2.1"})] == [9, 9]


async def test_by_path():
    async with serving(limit_by="path", path="/dear") as gateway:
        dear, cheap = partial(left, gateway, "/dear"), partial(left, gateway, "/cheap")
        assert [await dear(**HERE), await dear(**THERE), await cheap(**HERE)] == [9, 8, 9]


# -- which counters


async def test_counters_survive_what_else_changes():
    async with Serving(Limiting, minute=10) as gateway:
        await left(gateway)
        gateway.use(KeyAuth, {"route": gateway.entity("routes", paths=["/other"])})
        await gateway.apply()
        assert await left(gateway) == 8


async def test_counters_survive_a_change_of_the_limit():
    gateway = Serving(Limiting, enabled=False)
    ours = gateway.use(Limiting, minute=10)
    async with gateway:
        await left(gateway)
        ours["config"] = Limiting.Config(minute=20, hour=30).model_dump(mode="json")
        await gateway.apply()
        assert told(await gateway.ask("GET", "/")) == lines(
            {"minute": (20, 18), "hour": (30, 29)}, "minute", 30
        )


async def test_each_scope_has_its_own_counters_and_all_consumers_of_one_share_it():
    gateway = Serving(Limiting, minute=10, limit_by="service")
    gateway.use(KeyAuth)
    bob = gateway.consumer("bob", keyauth_credentials={"key": "one"})
    gateway.consumer("ann", keyauth_credentials={"key": "two"})
    async with gateway:
        service = gateway.entity("services", name="dear", host="127.0.0.1")
        gateway.use(Limiting, {"consumer": bob}, minute=7, limit_by="service")
        gateway.use(Limiting, {"service": service}, minute=5, limit_by="service")
        await gateway.apply()
        assert [await left(gateway, **TWO), await left(gateway, **ONE)] == [9, 5]
        dear = {"service": {"id": str(service["id"])}}
        gateway.entity("routes", paths=["/dear"], **dear)
        await gateway.apply()
        refused = await gateway.ask("GET", "/dear", headers=TWO)
        assert refused.headers["X-RateLimit-Remaining-Minute"] == "4"

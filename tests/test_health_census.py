"""The census: how many addresses are unhealthy, and which, in few words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from gateway.balancing.health import Report
from gateway.health_census import HealthCensus
from gateway.proxy.health.plan import EachNode
from gateway.status.health import AddressHealth, HealthChange, TargetHealth, UpstreamHealth
from gateway.status.health_counts import MOST_NAMED, Census, UnhealthyAddress
from tests.admin.conftest import SomeHealth


class ChangingHealth(SomeHealth):
    """Tells of changes that a test makes up."""

    def on_change(self, hear: Callable[[HealthChange], None]) -> None:
        self.tell = hear


def upstream(*states: str | None) -> UpstreamHealth:
    """An upstream entity with an address of each of these states."""
    addresses = tuple(
        AddressHealth(f"10.0.0.{number}", 80, 100, state != "unhealthy", state)
        for number, state in enumerate(states)
    )
    target = TargetHealth(uuid4(), "a.internal", 80, 100, "A", "", addresses)
    return UpstreamHealth(uuid4(), "orders", checked=True, healthy=True, targets=(target,))


async def taken(health: SomeHealth) -> Census:
    return await HealthCensus(health)._take()


async def test_what_is_not_checked_does_not_count() -> None:
    seen = upstream("healthy", "mostly_healthy", "unhealthy", None)
    health = ChangingHealth({seen.id: seen})
    named = (UnhealthyAddress("orders", "a.internal", "10.0.0.2:80"),)
    assert await taken(health) == Census(checked=3, unhealthy=1, named=named)


async def test_of_many_unhealthy_addresses_only_some_are_named() -> None:
    several = [upstream(*["unhealthy"] * 15) for _ in range(3)]
    census = await taken(ChangingHealth({seen.id: seen for seen in several}))
    assert (census.unhealthy, len(census.named)) == (45, MOST_NAMED)
    assert len(census.to_json()["addresses"]) == MOST_NAMED


async def test_names_are_told_as_far_as_they_are_of_use() -> None:
    seen = replace(upstream("unhealthy"), name="x" * 300)
    (named,) = (await taken(ChangingHealth({seen.id: seen}))).named
    assert named.upstream == "x" * 255


async def test_a_change_is_counted_and_leads_to_another_census() -> None:
    health = ChangingHealth()
    census = HealthCensus(health)
    task = asyncio.create_task(census.run())
    await asyncio.sleep(0)
    assert census.counts.census == Census()
    seen = upstream("unhealthy")
    health.views[seen.id] = seen
    change = HealthChange(seen.id, "orders", "a.internal", "10.0.0.0", 80, False, "probe")
    health.tell(change)
    async with asyncio.timeout(30):
        while not census.counts.census.unhealthy:  # noqa: ASYNC110 - it is not announced
            await asyncio.sleep(0.01)
    assert census.counts.changes == {"unhealthy": 1}
    task.cancel()
    await asyncio.wait({task})


def test_probes_are_counted_by_what_they_find() -> None:
    census = HealthCensus(ChangingHealth())
    plan = census.counted(EachNode())
    identity = ("a", "10.0.0.1", 80)
    assert plan.is_ours(uuid4(), identity)
    for report in (Report.SUCCESS, Report.SUCCESS, Report.TIMEOUT, None):
        plan.note(uuid4(), identity, report, "")
    assert census.counts.probes == {"success": 2, "timeout": 1, "nothing": 1}

"""What is known of health lasts over changes of configuration, and longer than a target."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from gateway.balancing.health import State
from tests.proxy.conftest import StartGateway
from tests.proxy.peers import Upstream, eventually, unchanging
from tests.snapshot.rows import full_load

from .pools import (
    ALL,
    GET,
    ORDERS,
    POOL,
    Changes,
    active,
    at,
    destination,
    endpoint,
    passive,
    pool,
    shares,
    tables,
    view,
)

GONE = {"routes": ALL, "services": ORDERS, "upstreams": POOL}

SELDOM = active(every_s=1000) | passive(http_failures=3)


@pytest.mark.parametrize(
    "change",
    [
        {"routes": [ALL]},
        {"upstreams": [pool(SELDOM, host_header="shop.example")]},
        {"upstreams": [pool(SELDOM, algorithm="least-connections")]},
        {"upstreams": [pool(SELDOM | {"threshold": 10})]},
        {"upstreams": [pool(active(every_s=2000) | passive(tcp_failures=1))]},
        {"targets": [at(1)]},
        "weight",
        "full",
    ],
    ids=[
        "route",
        "host_header",
        "algorithm",
        "threshold",
        "checks",
        "another-target",
        "weight",
        "full-load",
    ],
)
async def test_a_change_of_anything_else_leaves_health_as_it_is(
    start_gateway: StartGateway, upstreams: list[Upstream], change: Any
):
    one, two, _ = upstreams
    begun = tables(SELDOM, at(one), at(two))
    gateway = await start_gateway(begun)
    down = begun["targets"][1]
    gateway.proxy.health.mark(down["id"], None, healthy=False)
    before = endpoint(gateway, two)
    if change == "full":
        await gateway.applier.apply(full_load(begun, 2))
    else:
        weight = {"targets": [down | {"weight": 7}]}
        await gateway.change(weight if change == "weight" else change)
    assert endpoint(gateway, two) is before
    assert (before.available, before.health.state) == (False, State.UNHEALTHY)
    if change != {"targets": [at(1)]}:
        assert set(await shares(gateway, 4)) <= {b"0", b""}


async def test_a_target_that_is_removed_and_restored_is_what_it_was(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    one, two, _ = upstreams
    begun = tables(SELDOM, at(one), at(two))
    gateway = await start_gateway(begun)
    gateway.proxy.health.mark(begun["targets"][1]["id"], None, healthy=False)
    await gateway.change({}, {"targets": [begun["targets"][1]["id"]]})
    assert len(destination(gateway).endpoints) == 1
    await gateway.change({"targets": [at(two)]})
    assert not endpoint(gateway, two).available
    assert await shares(gateway, 4) == {b"0": 4}


async def test_an_upstream_entity_that_is_made_again_begins_anew(
    start_gateway: StartGateway, upstream: Upstream
):
    begun = tables(SELDOM, at(upstream))
    gateway = await start_gateway(begun)
    gateway.proxy.health.mark(begun["targets"][0]["id"], None, healthy=False)
    await gateway.change({}, {"upstreams": [POOL["id"]], "targets": [begun["targets"][0]["id"]]})
    await eventually(lambda: not gateway.proxy.destinations.known())
    await gateway.change({"upstreams": begun["upstreams"], "targets": begun["targets"]})
    assert endpoint(gateway, upstream).health.is_pristine


async def test_without_checks_everybody_is_available_and_nobody_probed(
    start_gateway: StartGateway, upstream: Upstream
):
    begun = tables(active(), at(upstream))
    gateway = await start_gateway(begun)
    await eventually(lambda: upstream.requests)
    gateway.proxy.health.mark(begun["targets"][0]["id"], None, healthy=False)
    await gateway.change({"upstreams": [pool({})]})
    await eventually(lambda: not view(gateway).checked)
    assert (await gateway.ask(GET)).status == 200
    assert gateway.proxy.health.mark(begun["targets"][0]["id"], None, healthy=False) == 0
    assert endpoint(gateway, upstream).health.is_pristine
    await unchanging(lambda: len(upstream.connections))


async def test_probes_go_on_undisturbed_while_other_things_change(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    """Each apply reaches the watch; if it began anew each time, no probe would ever be due."""
    gateway = await start_gateway(tables(active(every_s=0.3), at(upstreams[0])))
    changes = Changes(gateway)

    async def change_all_the_time() -> None:
        while True:
            await gateway.change({"routes": [ALL], "targets": [at(upstreams[1], weight=0)]})
            await asyncio.sleep(0.01)

    changing = asyncio.create_task(change_all_the_time())
    await eventually(lambda: len(upstreams[0].requests) > 2)
    changing.cancel()
    assert not changes.heard


async def test_an_interval_that_becomes_shorter_counts_at_once(
    start_gateway: StartGateway, upstream: Upstream
):
    gateway = await start_gateway(tables(active(every_s=1000), at(upstream)))
    await shares(gateway, 1)
    await gateway.change({"upstreams": [pool(active())]})
    await eventually(lambda: len(upstream.requests) > 3)


async def test_nothing_of_an_upstream_entity_that_is_gone_needs_the_garbage_collector(
    start_gateway: StartGateway, upstreams: list[Upstream]
):
    checks = active() | passive(http_failures=1)
    gateway = await start_gateway(tables(checks, *map(at, upstreams)))
    await shares(gateway, 3)
    await eventually(lambda: upstreams[0].requests)
    gone = weakref.ref(destination(gateway))
    gc.disable()
    try:
        await gateway.change({}, {table: [row["id"]] for table, row in GONE.items()})
        await eventually(lambda: gone() is None)
    finally:
        gc.enable()

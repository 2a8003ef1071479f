"""A snapshot that was replaced as a whole goes piece by piece."""

from __future__ import annotations

import asyncio
import sys

from gateway.snapshot import SnapshotApplier

from .rows import full_load, route, service, target, upstream

ROUTES = 2000


def everything(name: str) -> dict[str, list[dict[str, object]]]:
    orders = service(name=name)
    pool = upstream(f"{name}.internal")
    return {
        "services": [orders],
        "routes": [route(orders, name=f"{name}-{n}", paths=[f"/{n}"]) for n in range(ROUTES)],
        "upstreams": [pool],
        "targets": [target(pool, f"10.0.0.{n}:80") for n in range(100)],
    }


async def test_it_is_freed_while_other_work_goes_on() -> None:
    applier = SnapshotApplier(lambda _: None)
    old = everything("old")
    await applier.apply(full_load(old, version=1))
    (candidate,) = applier.current.router.candidates(False, b"GET", b"", b"/0")
    held_before = sys.getrefcount(candidate)
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    await applier.apply(full_load(everything("new"), version=2))
    (dismantling,) = applier._dismantling
    working = asyncio.create_task(other_work())
    await dismantling
    working.cancel()
    assert sys.getrefcount(candidate) < held_before
    assert turns > 3
    assert len(applier.current.router) == ROUTES


async def test_a_node_that_stops_does_not_wait_for_it() -> None:
    applier = SnapshotApplier(lambda _: None)
    await applier.apply(full_load(everything("old"), version=1))
    await applier.apply(full_load(everything("new"), version=2))
    await applier.stop()
    assert not applier._dismantling

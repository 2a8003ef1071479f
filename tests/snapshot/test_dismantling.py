"""A snapshot that was replaced as a whole goes piece by piece."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import fields

import pytest

from gateway.snapshot import Snapshot, SnapshotApplier, dismantling
from gateway.store.source import Batch
from tests.proxy.certificates import Authority

from .rows import (
    ca_certificate,
    certificate,
    full_load,
    plugin,
    route,
    row,
    service,
    sni,
    target,
    upstream,
)

ROUTES = 2000


def everything(name: str) -> dict[str, list[dict[str, object]]]:
    orders = service(name=name)
    pool = upstream(f"{name}.internal")
    authority = Authority()
    shown = certificate(authority.issue("a.example"))
    consumers = [row("consumers", username=f"{name}-{n}") for n in range(30)]
    return {
        "certificates": [shown],
        "snis": [sni("a.example", shown)],
        "ca_certificates": [ca_certificate(authority.pem)],
        "services": [orders],
        "routes": [route(orders, name=f"{name}-{n}", paths=[f"/{n}"]) for n in range(ROUTES)],
        "upstreams": [pool],
        "targets": [target(pool, f"10.0.0.{n}:80") for n in range(100)],
        "consumers": consumers,
        "keyauth_credentials": [row("keyauth_credentials", consumer=of(c)) for c in consumers],
        "acls": [row("acls", consumer=of(c), group="g") for c in consumers],
        "plugins": [plugin("key-auth") for _ in range(100)],
    }


def of(consumer: dict[str, object]) -> dict[str, str]:
    return {"id": str(consumer["id"])}


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
    (dismantling_task,) = applier._dismantling
    working = asyncio.create_task(other_work())
    await dismantling_task
    working.cancel()
    assert sys.getrefcount(candidate) < held_before
    assert turns > 3
    assert len(applier.current.router) == ROUTES


async def test_nothing_is_left_to_be_freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    applier = SnapshotApplier(lambda _: None)
    tables = everything("old")
    await applier.apply(full_load(tables))
    pieces: list[Batch] = []
    left = applier.current
    without = dismantling._without

    def watched(snapshot: Snapshot, piece: Batch) -> Snapshot:
        nonlocal left
        pieces.append(piece)
        left = without(snapshot, piece)
        return left

    monkeypatch.setattr(dismantling, "_without", watched)
    await dismantling.dismantle(applier.current)
    gone = {
        table: {id_ for p in pieces if p.table == table for id_ in p.deleted} for table in tables
    }
    assert gone == {table: {row["id"] for row in of_it} for table, of_it in tables.items()}
    assert max(len(piece.deleted) for piece in pieces) == 20
    assert len(left.router) == 0
    empty = Snapshot.empty()
    for kept in {field.name for field in fields(left)} - {"mark", "router"}:
        assert getattr(left, kept) == getattr(empty, kept)


async def test_a_node_that_stops_does_not_wait_for_it() -> None:
    applier = SnapshotApplier(lambda _: None)
    await applier.apply(full_load(everything("old"), version=1))
    await applier.apply(full_load(everything("new"), version=2))
    await applier.stop()
    assert not applier._dismantling

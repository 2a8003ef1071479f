"""How long an apply takes, and how long it stops the event loop: `python -m benchmarks.apply`.

Rows are made in memory, so that nothing but the snapshot is measured. A pause is the time between
two turns of a task that does nothing but wait for its next one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from statistics import median
from typing import Any
from uuid import UUID, uuid4

from gateway.entities import ENTITIES, Row
from gateway.snapshot import SnapshotApplier
from gateway.store.source import BATCH_ROWS, Batch, Load, VersionMark

ROUTES_PER_SERVICE = 10
FULL_LOADS = 3
CHANGES = 200
SETTLING_S = 2.0

Tables = Mapping[str, list[Row]]

EPOCH = uuid4()
NOW = datetime.now(UTC)


class Pauses:
    """The longest time that the event loop was held since the last `reset`."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    def reset(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last)
            last = now


def row(table: str, **given: Any) -> Row:
    """Return an entity as the Admin API stores it."""
    entity_type = ENTITIES[table]
    return entity_type.to_row(entity_type.validate(entity_type.expand(given, "create")))


def configuration(routes: int) -> tuple[list[Row], list[Row]]:
    """Return services and routes, each route with a path of its own."""
    services = [
        row("services", name=f"s{n}", host=f"s{n}.test")
        for n in range(max(1, routes // ROUTES_PER_SERVICE))
    ]
    return services, [
        row("routes", name=f"r{n}", paths=[f"/p{n}"], service={"id": id_of(services, n)})
        for n in range(routes)
    ]


def id_of(services: list[Row], n: int) -> str:
    found: UUID = services[n % len(services)]["id"]
    return str(found)


def batches(table: str, rows: list[Row]) -> Iterator[Batch]:
    for start in range(0, len(rows), BATCH_ROWS):
        yield Batch(table, rows[start : start + BATCH_ROWS], [])


async def each(some: Iterable[Batch]) -> AsyncIterator[Batch]:
    for batch in some:
        yield batch


def full_load(version: int, tables: Tables) -> Load:
    everything = chain.from_iterable(batches(table, rows) for table, rows in tables.items())
    return Load("full", VersionMark(EPOCH, version, NOW), NOW, NOW, each(everything))


def change(version: int, table: str, changed: Row) -> Load:
    some = [Batch(table, [changed], [])]
    return Load("changes", VersionMark(EPOCH, version, NOW), NOW, NOW, each(some))


async def measure(
    what: str, tables: Tables, table: str, changed: Callable[[int], Row]
) -> SnapshotApplier:
    """Measure full loads, each replacing the one before, then single changes of rows of a table.

    ``changed`` returns the nth changed row.
    """
    applier, pauses = SnapshotApplier(lambda _: None), Pauses()
    gc.collect()
    gc.freeze()
    watching = asyncio.create_task(pauses.watch(), name="watch-pauses")
    for version in range(FULL_LOADS):
        pauses.reset()
        began = time.perf_counter()
        await applier.apply(full_load(version, tables))
        took_s = time.perf_counter() - began
        await asyncio.sleep(SETTLING_S)  # the snapshot before is taken apart
        longest_ms = pauses.longest_s * 1000
        print(f"full load of {what}: {took_s:.2f} s, longest pause {longest_ms:.1f} ms")
    took: list[float] = []
    pauses.reset()
    for n in range(CHANGES):
        began = time.perf_counter()
        await applier.apply(change(FULL_LOADS + n, table, changed(n)))
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0)
    print(
        f"one change of {what}: {median(took) * 1000:.2f} ms (median), "
        f"{max(took) * 1000:.2f} ms (longest), longest pause {pauses.longest_s * 1000:.1f} ms"
    )
    watching.cancel()
    await applier.stop()
    return applier


async def measure_routes(number: int) -> None:
    services, routes = configuration(number)

    def changed(n: int) -> Row:
        return {**routes[n % number], "paths": [f"/changed{n}"]}

    tables = {"services": services, "routes": routes}
    await measure(f"{number:,} routes", tables, "routes", changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("routes", type=int, nargs="*", default=[10_000, 100_000])
    for number in parser.parse_args().routes:
        asyncio.run(measure_routes(number))


if __name__ == "__main__":
    main()

"""What consumers cost, each with a key and a group: `python -m benchmarks.consumers`.

First the snapshot alone, from rows in memory as in `benchmarks.apply`, and finding a consumer in
it; then a node on a database of its own: how long it takes to load them, and its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import httpx
import psycopg

from benchmarks.apply import SETTLING_S, measure, row
from benchmarks.processes import Pinned, free_port
from gateway.entities import Row
from gateway.plugins.identity import Directory
from gateway.store import migrate
from gateway.store.embedded import EmbeddedPostgres

LOOKUPS = 200_000
GROUPS = 20
CHANGES = 50

_FILL = """
    INSERT INTO consumers (id, username) SELECT gen_random_uuid(), 'c-' || n
    FROM generate_series(1, {number}) n;
    INSERT INTO keyauth_credentials (id, key, consumer_id)
    SELECT gen_random_uuid(), 'key-' || username, id FROM consumers;
    INSERT INTO acls (id, "group", consumer_id)
    SELECT gen_random_uuid(), 'g-' || right(username, 1), id FROM consumers
"""


def configuration(number: int) -> dict[str, list[Row]]:
    """Return consumers, their keys and their groups: copies of one row of each kind."""
    consumer = row("consumers", username="c")
    key = row("keyauth_credentials", key="k", consumer={"id": str(consumer["id"])})
    group = row("acls", group="g", consumer={"id": str(consumer["id"])})
    consumers = [{**consumer, "id": new_id(), "username": f"c-{n}"} for n in range(number)]
    return {
        "consumers": consumers,
        "keyauth_credentials": [
            {**key, "id": new_id(), "key": f"key-{n}", "consumer_id": owner["id"]}
            for n, owner in enumerate(consumers)
        ],
        "acls": [
            {**group, "id": new_id(), "group": f"g-{n % GROUPS}", "consumer_id": owner["id"]}
            for n, owner in enumerate(consumers)
        ],
    }


def new_id() -> UUID:
    return UUID(int=random.getrandbits(128), version=4)


def lookup_us(directory: Directory, number: int) -> float:
    """Return the CPU time to find a key at random, its consumer and the groups of that."""
    keys = [f"key-{random.randrange(number)}" for _ in range(LOOKUPS)]
    began = time.process_time()
    for key in keys:
        credential = directory.credential("keyauth_credentials", key)
        if credential is not None and directory.consumer(credential.consumer_id) is not None:
            directory.groups_of(credential.consumer_id)
    return (time.process_time() - began) / LOOKUPS * 1e6


async def measure_snapshot(number: int) -> None:
    tables = configuration(number)

    def changed(n: int) -> dict[str, Any]:
        owner = tables["consumers"][n % number]["id"]
        return {**tables["acls"][n % number], "group": f"changed-{n}", "consumer_id": owner}

    applier = await measure(f"{number:,} consumers", tables, "acls", changed)
    directory = applier.current.directory
    print(f"a look-up among {number:,}: {lookup_us(directory, number):.2f} µs")


def measure_node(number: int) -> None:
    """Measure a node that starts where all consumers are there already."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as home, ExitStack() as stack:
        Path(home).chmod(0o711)
        postgres = EmbeddedPostgres(Path(home) / "postgres")
        stack.callback(postgres.stop)
        url = postgres.start()
        migrate.upgrade(url)
        with psycopg.connect(url) as connection:
            connection.execute(_FILL.format(number=number))
        admin, status = free_port(), free_port()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        environment = inherited | {
            "GATEWAY_DATABASE_URL": url,
            "GATEWAY_PROXY_PORT": "0",
            "GATEWAY_ADMIN_PORT": str(admin),
            "GATEWAY_STATUS_PORT": str(status),
            "GATEWAY_SNAPSHOT_DIR": f"{home}/snapshots",
        }
        command = [sys.executable, "-m", "gateway", "node"]
        core = max(os.sched_getaffinity(0))
        node = Pinned("node", core, command, Path(home) / "node.log", environment)
        stack.callback(node.stop)
        node.wait_for_port(admin)
        http = stack.enter_context(httpx.Client(timeout=30, trust_env=False))
        load_s = last_apply_ms(http, status) / 1000
        cpu_s = node.cpu_s()
        time.sleep(SETTLING_S)
        print(
            f"a node with {number:,} consumers: loaded in {load_s:.2f} s, "
            f"{cpu_s:.1f} s of CPU since its start, RSS {node.rss_bytes() / 1e6:.0f} MB"
        )
        took = []
        for n in range(CHANGES):
            consumer = f"http://127.0.0.1:{admin}/consumers/c-{n % number + 1}"
            http.post(f"{consumer}/acls?wait=cluster", json={"group": "x"}).raise_for_status()
            took.append(last_apply_ms(http, status))
        print(f"one change of {number:,} on it: {median(took):.2f} ms (median)")


def last_apply_ms(http: httpx.Client, status_port: int) -> float:
    """Return what the last apply took, from the database's answer to the swap."""
    report = http.get(f"http://127.0.0.1:{status_port}/status").json()
    return float(report["sync"]["last_apply_ms"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("consumers", type=int, nargs="*", default=[100, 10_000, 100_000])
    for number in parser.parse_args().consumers:
        asyncio.run(measure_snapshot(number))
        measure_node(number)


if __name__ == "__main__":
    main()

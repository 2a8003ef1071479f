"""A write that waits for the cluster: who counts, who is named, and that it is done in any case."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import __version__
from gateway.admin.barrier import Barrier, Propagation
from gateway.lab.fault_proxy import FaultProxy
from gateway.store.embedded import EmbeddedPostgres
from gateway.store.nodes import Heartbeat
from gateway.store.propagation import Member
from gateway.store.store import Store
from tests.scenarios.nodes import until
from tests.sync.mirror import run_sql

from .conftest import StandingNode, client_of

ALIVE_S = 5.0


def beat(name: str, applied: int | None, **facts: Any) -> Heartbeat:
    return Heartbeat(
        **{
            "id": uuid4(),
            "name": name,
            "proxy_address": "127.0.0.1:8000",
            "admin_address": "127.0.0.1:8001",
            "status_address": "127.0.0.1:8100",
            "started_at": datetime.now(UTC),
            "applied_version": applied,
            "applied_committed_at": None,
            "strategy": "notify",
            "software_version": __version__,
            "role": "traditional",
            **facts,
        }
    )


async def committed_at(store: Store) -> datetime:
    return (await store.cluster()).committed_at


async def becomes(store: Store, version: int) -> None:
    """Wait until this version is committed."""

    async def is_there() -> bool:
        return (await store.cluster()).version >= version

    await until(is_there)


# -- who counts


@pytest.mark.parametrize(
    ("members", "there", "behind", "unseen"),
    [
        ([], "", "", ""),
        ([Member("a", 0, 7)], "a", "", ""),
        ([Member("a", 0, 8)], "a", "", ""),
        ([Member("a", 0, 6)], "", "a", ""),
        ([Member("a", 0, None)], "", "a", ""),
        ([Member("a", ALIVE_S, 6)], "", "a", ""),
        ([Member("a", ALIVE_S + 0.1, 6)], "", "", "a"),
        ([Member("a", ALIVE_S + 0.1, 7)], "", "", "a"),
        ([Member("a", 0, 7), Member("b", 1, 6), Member("c", 9, 7)], "a", "b", "c"),
    ],
)
def test_live_members_are_there_or_behind(
    members: list[Member], there: str, behind: str, unseen: str
):
    found = Propagation.of(members, 7, ALIVE_S)
    assert ("".join(found.there), "".join(found.behind), "".join(found.unseen)) == (
        there,
        behind,
        unseen,
    )


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_name_can_be_named_in_a_header(names: list[str]):
    headers = Propagation((), names, names).headers()
    assert headers["X-Gateway-Propagation"] == f"0/{len(names)}"
    for header in ("X-Gateway-Propagation-Behind", "X-Gateway-Propagation-Unseen"):
        assert headers[header].isascii()
        assert headers[header].isprintable()
        assert headers[header].count(",") == len(names) - 1


# -- waiting


async def test_a_write_is_answered_when_every_live_node_serves_it(
    client: httpx.AsyncClient, store: Store
):
    nodes = [beat("a", 0), beat("b", 0)]
    for node in nodes:
        await store.join(node)
    write = asyncio.create_task(client.post("/services?wait=cluster", json={"host": "h"}))
    for node in nodes:
        assert not write.done()
        await store.heartbeat(beat(node.name, 1, id=node.id))
    response = await write
    assert response.status_code == 201
    assert response.headers["X-Gateway-Config-Version"] == "1"
    assert response.headers["X-Gateway-Propagation"] == "2/2"
    assert "X-Gateway-Propagation-Behind" not in response.headers


@pytest.mark.parametrize("limit", ["0", "1ms", "0.001s"])
async def test_in_time_or_not_it_is_written(client: httpx.AsyncClient, store: Store, limit: str):
    await store.join(beat("fast", 1))
    await store.join(beat("slow one", 0))
    response = await client.post(f"/services?wait=cluster&timeout={limit}", json={"host": "h"})
    assert response.status_code == 201
    assert response.headers["X-Gateway-Propagation"] == "1/2"
    assert response.headers["X-Gateway-Propagation-Behind"] == "slow one"
    assert (await client.get("/services")).json()["data"]


async def test_every_kind_of_write_can_wait(client: httpx.AsyncClient, store: Store):
    await store.join(beat("a", 100))
    for method, path, body in (
        ("POST", "/services", {"name": "s", "host": "h"}),
        ("PUT", "/services/s/routes/r", {"paths": ["/"]}),
        ("PATCH", "/routes/r/service", {"port": 81}),
        ("DELETE", "/routes/r", None),
        ("DELETE", "/routes/r", None),
    ):
        response = await client.request(method, f"{path}?wait=cluster&timeout=0", json=body)
        assert response.is_success
        assert response.headers["X-Gateway-Propagation"] == "1/1"


async def test_what_was_not_written_does_not_wait(client: httpx.AsyncClient, store: Store):
    await store.join(beat("a", 0))
    for response in (
        await client.post("/services?wait=cluster&timeout=60s", json={"host": ""}),
        await client.patch("/services/none?wait=cluster&timeout=60s", json={"port": 1}),
        await client.get("/services?wait=cluster&timeout=60s"),
    ):
        assert "X-Gateway-Propagation" not in response.headers


async def test_a_node_that_is_not_heard_of_is_named_but_not_waited_for(
    client: httpx.AsyncClient, store: Store, database_url: str
):
    await store.join(beat("dead", 0))
    await run_sql(database_url, "UPDATE nodes SET last_seen_at = now() - interval '6 s'")
    response = await client.post("/services?wait=cluster&timeout=60s", json={"host": "h"})
    assert response.headers["X-Gateway-Propagation"] == "0/0"
    assert response.headers["X-Gateway-Propagation-Unseen"] == "dead"


async def test_a_node_that_was_out_of_touch_counts_those_it_has_not_heard_of_yet(
    client: httpx.AsyncClient, node: StandingNode, store: Store, database_url: str
):
    """After an outage of the database, nobody has been heard of for long."""
    await store.join(beat("back soon", 0))
    await run_sql(database_url, "UPDATE nodes SET last_seen_at = now() - interval '6 s'")
    node.sync.returned_at = time.monotonic()
    response = await client.post("/services?wait=cluster&timeout=0", json={"host": "h"})
    assert response.headers["X-Gateway-Propagation"] == "0/1"
    assert response.headers["X-Gateway-Propagation-Behind"] == "back soon"
    node.sync.returned_at = time.monotonic() - ALIVE_S - 1
    response = await client.post("/services?wait=cluster&timeout=0", json={"host": "h"})
    assert response.headers["X-Gateway-Propagation-Unseen"] == "back soon"


async def test_control_planes_do_not_count_and_data_planes_do(
    client: httpx.AsyncClient, store: Store, database_url: str
):
    await store.join(beat("control", 0, role="control-plane"))
    await run_sql(
        database_url,
        """INSERT INTO data_planes VALUES (gen_random_uuid(), 'edge', '127.0.0.1', '0.1',
        now(), now(), 0, NULL, 'normal', '{}', NULL, gen_random_uuid())""",
    )
    response = await client.post("/services?wait=cluster&timeout=0", json={"host": "h"})
    assert response.headers["X-Gateway-Propagation"] == "0/1"
    assert response.headers["X-Gateway-Propagation-Behind"] == "edge"


async def test_a_version_of_another_history_does_not_count(
    client: httpx.AsyncClient, store: Store, database_url: str
):
    """A restored database gives numbers out again that some node still serves from before."""
    await client.post("/services", json={"host": "lost"})
    served = await committed_at(store)
    await store.join(beat("a", 1, applied_committed_at=served))
    await run_sql(
        database_url,
        "DELETE FROM change_sets WHERE version = 1",
        "DELETE FROM changes",
        "UPDATE config_version SET version = 0",
    )
    response = await client.post("/services?wait=cluster&timeout=0", json={"host": "h"})
    assert response.headers["X-Gateway-Config-Version"] == "1"
    assert response.headers["X-Gateway-Propagation-Behind"] == "a"


async def test_a_database_that_goes_away_meanwhile_leaves_it_unknown(
    node: StandingNode, postgres: EmbeddedPostgres, database_url: str
):
    async with FaultProxy.before(postgres) as network:
        secret = type(node.settings.database_url)(network.url(database_url))
        node.settings = node.settings.model_copy(update={"database_url": secret})
        store = Store(node.settings)
        await store.start()
        await store.join(beat("a", 0))
        async with client_of(store, node) as client:
            path = "/services?wait=cluster&timeout=60s"
            write = asyncio.create_task(client.post(path, json={"host": "h"}))
            await becomes(store, 1)
            network.cut()
            response = await write
            assert response.status_code == 201
            assert response.headers["X-Gateway-Propagation"] == "unknown"
            network.heal()
        await store.stop()


async def test_those_who_wait_share_the_questions():
    """The first question may be older than a write that came later, so those share the next."""

    class Members:
        asked = 0
        may_answer = asyncio.Event()

        async def members(self) -> list[Member]:
            self.asked += 1
            await self.may_answer.wait()
            return [Member("a", 0, 7)]

    store: Any = Members()
    barrier = Barrier(store, ALIVE_S, lambda: math.inf)
    waiting = [asyncio.create_task(barrier.wait(7, 60))]
    while not store.asked:  # noqa: ASYNC110 - a turn of the loop
        await asyncio.sleep(0)
    waiting += [asyncio.create_task(barrier.wait(7, 60)) for _ in range(9)]
    store.may_answer.set()
    for headers in await asyncio.gather(*waiting):
        assert headers == {"X-Gateway-Propagation": "1/1"}
    assert store.asked == 2


# -- bad input


@pytest.mark.parametrize(
    ("query", "option"),
    [
        ("wait=node", "wait"),
        ("wait=", "wait"),
        ("wait=cluster&timeout=", "timeout"),
        ("wait=cluster&timeout=soon", "timeout"),
        ("wait=cluster&timeout=-1s", "timeout"),
        ("wait=cluster&timeout=1e3", "timeout"),
        ("wait=cluster&timeout=301s", "timeout"),
        ("wait=cluster&timeout=5m", "timeout"),
    ],
)
async def test_options_that_mean_nothing_are_refused_before_anything_is_written(
    client: httpx.AsyncClient, query: str, option: str
):
    response = await client.post(f"/services?{query}", json={"host": "h"})
    assert response.status_code == 400
    assert list(response.json()["options"]) == [option]
    assert (await client.get("/services")).json()["data"] == []

"""The ledger has what was committed, under the version that did it, and nothing else."""

from __future__ import annotations

import pytest

from gateway.lab.faults import ledger
from gateway.lab.faults.history import Commit, Values
from gateway.lab.faults.registers import fields
from gateway.store.store import Store
from tests.store.rows import route, service, upstream

KEYS = ["k1"]


@pytest.fixture
async def ledger_url(database_url: str) -> str:
    await ledger.install(database_url)
    return database_url


async def entries(url: str) -> list[Commit]:
    return [commit async for commit in ledger.commits(url)]


async def test_each_version_is_entered_with_what_it_wrote(store: Store, ledger_url: str) -> None:
    async with store.write() as tx:
        parent = await tx.insert("services", service(name="k1", path="/s1"))
        await tx.insert("upstreams", upstream(name="k1", host_header="h2.test"))
    first = tx.version
    async with store.write() as tx:
        paths = fields("routes", "k1", 3)["paths"]
        child = await tx.insert("routes", route(parent["id"], name="k1", paths=paths))
        await tx.update("services", parent["id"], {"path": "/s4"})
    second = tx.version
    async with store.write() as tx:
        await tx.delete("routes", child["id"])
    assert await entries(ledger_url) == [
        Commit(first, "services/k1", "1"),
        Commit(first, "upstreams/k1", "2"),
        Commit(second, "routes/k1", "3"),
        Commit(second, "services/k1", "4"),
        Commit(tx.version, "routes/k1", None),
    ]
    assert await ledger.tables(ledger_url, KEYS) == {
        "services/k1": "4",
        "upstreams/k1": "2",
        "routes/k1": None,
    }


async def test_what_is_rolled_back_is_not_entered(ledger_url: str) -> None:
    insert = "INSERT INTO services (name, host, path) VALUES ('k1', 'h', '/s1')"
    async with await ledger.connect(ledger_url) as connection:
        await connection.execute(f"BEGIN; {insert}; ROLLBACK")
        assert await entries(ledger_url) == []
        await connection.execute(f"BEGIN; {insert}; UPDATE services SET path = '/s2'; COMMIT")
    assert await entries(ledger_url) == [
        Commit(1, "services/k1", "1"),
        Commit(1, "services/k1", "2"),
    ]


async def test_a_key_that_is_not_there_has_no_values(ledger_url: str) -> None:
    nothing: Values = {"services/k1": None, "upstreams/k1": None, "routes/k1": None}
    assert await ledger.tables(ledger_url, KEYS) == nothing

"""Pages: complete whatever the rows are like, and never much larger than their bytes allow."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from gateway.store import paging
from gateway.store.store import Store
from gateway.store.transactions import ROWS_AT_ONCE
from tests.store.rows import service, target, upstream

PAGE_BYTES = 20_000


async def add_services(store: Store, path_bytes: list[int]) -> list[UUID]:
    """Add services with paths of these lengths; return the ids in order."""
    added = sorted(uuid4() for _ in path_bytes)
    rows = [
        service(id=id_, path="/" + "a" * length)
        for id_, length in zip(added, path_bytes, strict=True)
    ]
    async with store.write() as tx:
        await tx.insert_all("services", rows)
    return added


async def walk(store: Store, size: int) -> list[list[UUID]]:
    pages: list[list[UUID]] = []
    has_more = True
    async with store.read() as tx:
        while has_more:
            last_id = pages[-1][-1] if pages else None
            page = await tx.page("services", size=size, after_id=last_id)
            pages.append([row["id"] for row in page.rows])
            has_more = page.has_more
    return pages


async def test_of_small_rows_a_page_has_as_many_as_are_asked_for(store: Store):
    many = 2 * ROWS_AT_ONCE
    added = await add_services(store, [1] * (many + 1))
    for size, lengths in ((many, [many, 1]), (many + 1, [many + 1]), (many + 2, [many + 1])):
        pages = await walk(store, size)
        assert [len(page) for page in pages] == lengths
        assert [id_ for page in pages for id_ in page] == added


@pytest.mark.parametrize(
    "path_bytes",
    [[9_000] * 12, [1] * 300 + [9_000] * 7, [9_000, 1, 1, 9_000, 30_000, 1, 30_000, 9_000, 9_000]],
)
async def test_a_page_of_large_rows_ends_early_and_the_next_one_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, path_bytes: list[int]
):
    monkeypatch.setattr(paging, "BITE_BYTES", PAGE_BYTES // 2)
    monkeypatch.setattr(paging, "PAGE_BYTES", PAGE_BYTES)
    added = await add_services(store, path_bytes)
    length_of = dict(zip(added, path_bytes, strict=True))
    pages = await walk(store, 1000)
    assert [id_ for page in pages for id_ in page] == added
    for page in pages:
        assert sum(length_of[id_] for id_ in page[:-2]) < PAGE_BYTES


async def test_a_row_that_is_larger_than_a_page_is_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(paging, "BITE_BYTES", 10)
    monkeypatch.setattr(paging, "PAGE_BYTES", 10)
    added = await add_services(store, [100] * 3)
    assert [page for page in await walk(store, 1000) if page] == [[id_] for id_ in added]


async def test_the_newest_come_in_pages_too(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paging, "BITE_BYTES", PAGE_BYTES // 2)
    monkeypatch.setattr(paging, "PAGE_BYTES", PAGE_BYTES)
    pool = upstream(name="pool")
    added = []
    async with store.write() as tx:
        await tx.insert("upstreams", pool)
    for number in range(9):
        async with store.write() as tx:
            row = target(pool["id"], target=f"a{number}:1", tags=["a" * 2000, "b" * 2000])
            added.append((await tx.insert("targets", row))["id"])
    found: list[UUID] = []
    has_more = True
    async with store.read() as tx:
        while has_more:
            where = {"upstream_id": pool["id"]}
            page = await tx.newest("targets", size=1000, start=len(found), where=where)
            assert len(page.rows) < len(added)
            found += [row["id"] for row in page.rows]
            has_more = page.has_more
    assert found == added[::-1]

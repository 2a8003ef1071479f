"""Many rows in one statement: stored as single ones are, and refused with the same reasons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from gateway.declarative.checking import check
from gateway.entities import Row
from gateway.store.errors import (
    ForeignKeyMissing,
    PrimaryKeyConflict,
    StoreError,
    UniqueConflict,
    UnstorableValue,
)
from gateway.store.store import Store


def rows(**sections: Any) -> dict[str, list[Row]]:
    """Complete rows of valid entities, by table."""
    found: dict[str, list[Row]] = {}
    for item in check({"_format_version": "3.0", **sections}).items:
        found.setdefault(item.type.table, []).append(item.checked_row)
    return found


def service(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "host": "a.test", **fields}


EVERY_KIND_OF_VALUE = rows(
    upstreams=[
        {
            "name": "pool",
            "tags": ["a b", 'quote"', "ü", "back\\slash", "{}"],
            "healthchecks": {"active": {"timeout": 0.5, "headers": {"x-a": ["1", "ü"]}}},
            "targets": [{"target": "a.test", "created_at": 1.125}],
        },
        {"name": "bare", "healthchecks": None},
    ],
    routes=[
        {"name": "r", "paths": ["/a b", "~/x\\d"], "regex_priority": -(2**63), "tags": []},
        {"name": "s", "headers": {"x-b": ["\u2028", "'"]}, "methods": None},
    ],
    consumers=[{"username": "bob", "keyauth_credentials": [{"key": "k", "ttl": 1_000_000}]}],
)


async def test_many_rows_are_stored_as_single_ones_are(store: Store) -> None:
    for table, given in EVERY_KIND_OF_VALUE.items():
        async with store.write() as transaction:
            await transaction.insert_many(table, given)
    async with store.read() as transaction:
        for table, given in EVERY_KIND_OF_VALUE.items():
            stored = {row["id"]: row for row in await transaction.all(table)}
            assert stored == {row["id"]: row for row in given}


async def test_all_columns_of_many_rows_are_set(store: Store) -> None:
    given = rows(services=[service("a", tags=["x"]), service("b"), service("c")])["services"]
    async with store.write() as transaction:
        await transaction.insert_many("services", given)
    changed = [{**row, "port": 81, "tags": None, "path": "/x"} for row in given[:2]]
    async with store.write() as transaction:
        await transaction.update_many("services", changed)
    assert transaction.version == 2
    async with store.read() as reading:
        stored = {row["id"]: row for row in await reading.all("services")}
    assert stored == {row["id"]: row for row in [*changed, given[2]]}


async def test_no_rows_are_no_change(store: Store) -> None:
    async with store.write() as transaction:
        await transaction.insert_many("services", [])
        await transaction.update_many("services", [])
    assert transaction.version == 0


def pick(table: str, **changes: Any) -> Row:
    defaults = rows(services=[service("new")], routes=[{"name": "new", "paths": ["/"]}])
    return {**defaults[table][0], "id": uuid4(), **changes}


@pytest.mark.parametrize(
    ("table", "culprit", "error", "facts"),
    [
        (
            "services",
            lambda _: pick("services", name="there"),
            UniqueConflict,
            {"columns": {"name": "there"}},
        ),
        ("services", lambda id_: pick("services", id=id_), PrimaryKeyConflict, {}),
        (
            "routes",
            lambda _: pick("routes", service_id=UUID(int=7)),
            ForeignKeyMissing,
            {"column": "service_id", "id": UUID(int=7)},
        ),
        ("services", lambda _: pick("services", path="\x00"), UnstorableValue, {"column": "path"}),
    ],
)
async def test_the_row_that_is_refused_is_told(
    table: str,
    culprit: Callable[[UUID], Row],
    error: type[StoreError],
    facts: dict[str, Any],
    store: Store,
) -> None:
    there = pick("services", name="there")
    async with store.write() as transaction:
        await transaction.insert_many("services", [there])
    fine = [pick(table, name=f"fine-{number}") for number in range(3)]
    given = [*fine[:2], culprit(there["id"]), fine[2]]
    with pytest.raises(error) as refused:
        async with store.write() as transaction:
            await transaction.insert_many(table, given)
    assert {name: getattr(refused.value, name) for name in facts} == facts
    async with store.read() as reading:
        assert [row["name"] for row in await reading.all("services")] == ["there"]


async def test_a_refused_change_is_told(store: Store) -> None:
    one, other = pick("services", name="one"), pick("services", name="other")
    async with store.write() as transaction:
        await transaction.insert_many("services", [one, other])
    with pytest.raises(UniqueConflict, match="one"):
        async with store.write() as transaction:
            await transaction.update_many("services", [{**other, "name": "one"}])


async def test_unique_values_can_be_given_up_for_others(store: Store) -> None:
    one, other = pick("services", name="one"), pick("services", name="other")
    async with store.write() as transaction:
        await transaction.insert_many("services", [one, other])
    swapped = [{**one, "name": "other"}, {**other, "name": "one"}]
    async with store.write() as transaction:
        await transaction.give_up_uniques("services", [one["id"], other["id"]])
        await transaction.update_many("services", swapped)
    async with store.read() as reading:
        names = {row["id"]: row["name"] for row in await reading.all("services")}
    assert names == {one["id"]: "other", other["id"]: "one"}


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("consumers", {"username": "u", "custom_id": None}),
        ("targets", {"target": "a.test:80"}),
        ("ca_certificates", {"cert_digest": "0a"}),
        ("plugins", {"name": "limit", "instance_name": None}),
    ],
)
async def test_all_that_is_unique_is_given_up(
    table: str, columns: dict[str, Any], store: Store
) -> None:
    async with store.write() as transaction:
        further: dict[str, Any] = {}
        if table == "targets":
            pool = await transaction.insert("upstreams", {"name": "pool"})
            further = {"upstream_id": pool["id"]}
        if table == "ca_certificates":
            further = {"cert": "x"}
        row = await transaction.insert(table, {**columns, **further})
        await transaction.give_up_uniques(table, [row["id"]])
        given_up = await transaction.get(table, "id", row["id"])
    assert given_up is not None
    for column, value in columns.items():
        assert given_up[column] not in (None, value)


async def test_expired_rows_are_not_among_all(store: Store) -> None:
    async with store.write() as transaction:
        bob = await transaction.insert("consumers", {"username": "bob"})
        past = datetime(2020, 1, 1, tzinfo=UTC)
        key = {"key": "k", "consumer_id": bob["id"], "expires_at": past}
        await transaction.insert("keyauth_credentials", key)
        assert await transaction.all("keyauth_credentials") == []
        again = {**key, "id": uuid4(), "created_at": past, "tags": None, "expires_at": None}
        await transaction.insert_many("keyauth_credentials", [again])
        assert len(await transaction.all("keyauth_credentials")) == 1

"""The wire form: every row comes back as it was, also to another release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.entities import ENTITIES, EntityField, FieldKind, Row
from gateway.snapshot.wire import (
    WireError,
    decode_batch,
    decode_mark,
    decode_row,
    encode_batch,
    encode_mark,
    encode_row,
    from_text,
    to_text,
)
from gateway.store.source import Batch, VersionMark
from tests.proxy.certificates import Authority

from .rows import (
    ca_certificate,
    certificate,
    consumer,
    credentials,
    plugin,
    route,
    row,
    service,
    sni,
)

BEYOND_PYTHON = ["infinity", "-infinity", "294276-12-31 23:59:59.999999+00", "0044-03-15 BC"]
"""Times as the store hands them on when Python has no date for them."""

zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(1) / 3)]
)
texts = st.text(max_size=10)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3),
    max_leaves=4,
)
VALUES: Mapping[FieldKind, st.SearchStrategy[Any]] = {
    FieldKind.UUID: st.uuids(),
    FieldKind.REFERENCE: st.uuids(),
    FieldKind.TEXT: texts,
    FieldKind.BOOLEAN: st.booleans(),
    FieldKind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    FieldKind.NUMBER: st.floats(),
    FieldKind.TEXTS: st.lists(texts | st.none() | st.lists(texts, max_size=2), max_size=3),
    FieldKind.JSON: json_values,
    FieldKind.TIMESTAMP: st.datetimes(timezones=zones) | st.sampled_from(BEYOND_PYTHON),
    FieldKind.EXPIRY: st.datetimes(timezones=zones) | st.sampled_from(BEYOND_PYTHON),
}


def columns(fields: Mapping[str, EntityField]) -> dict[str, st.SearchStrategy[Any]]:
    return {field.column: st.none() | VALUES[field.kind] for field in fields.values()}


tables = st.sampled_from(sorted(ENTITIES))
rows = {t: st.fixed_dictionaries(columns(ENTITIES[t].fields)) for t in ENTITIES}
batches = tables.flatmap(
    lambda t: st.builds(
        Batch, st.just(t), st.lists(rows[t], max_size=2), st.lists(st.uuids(), max_size=2)
    )
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same type; other than in Python, NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)


def there_and_back(table: str, row: Row) -> Row:
    return decode_row(table, from_text(to_text(encode_row(table, row))))


@given(batches)
def test_every_row_of_every_table_comes_back_as_it_was(batch: Batch) -> None:
    came = decode_batch(from_text(to_text(encode_batch(batch))))
    assert (came.table, came.deleted) == (batch.table, batch.deleted)
    assert same(came.rows, batch.rows)


@given(st.builds(VersionMark, st.uuids(), st.integers(0), st.datetimes(timezones=zones)))
def test_a_mark_comes_back_as_it_was(mark: VersionMark) -> None:
    assert decode_mark(from_text(to_text(encode_mark(mark)))) == mark


def test_rows_as_the_admin_api_makes_them_come_back_as_they_were() -> None:
    orders = service(name="orders", tags=["a"])
    paths = route(orders, paths=["/orders"], headers={"x-kind": ["big", "small"]})
    upstream = row("upstreams", name="orders.internal")
    target = row("targets", upstream={"id": str(upstream["id"])}, target="127.0.0.1:80")
    authority = Authority()
    shown = certificate(authority.issue("a.example"))
    named, trusted = sni("a.example", shown), ca_certificate(authority.pem)
    bob = consumer()
    shown_by_bob = [made for (made,) in credentials(bob).values()]
    used = plugin("key-auth", config={"key_names": ["apikey"], "nested": {"number": 0.5}})
    all_made = (shown, named, trusted, orders, paths, upstream, target, bob, *shown_by_bob, used)
    for table, made in zip(ENTITIES, all_made, strict=True):
        assert there_and_back(table, made) == made


# -- other releases


def test_a_column_the_writer_did_not_know_gets_the_declared_default() -> None:
    plain = encode_row("services", service(name="orders", retries=7))
    del plain["retries"], plain["tags"]
    came = decode_row("services", plain)
    assert (came["name"], came["retries"], came["tags"]) == ("orders", 5, None)


def test_what_this_release_does_not_know_is_dropped() -> None:
    made = service(name="orders")
    assert decode_row("services", encode_row("services", made) | {"colour": "blue"}) == made
    colours = {"table": "colours", "rows": [{"id": str(uuid4())}], "deleted": []}
    assert decode_batch(colours) == Batch("colours", [], [])


# -- odd values


def test_a_value_of_a_wrong_shape_stays_as_it_is() -> None:
    wrong = {"id": "no id", "created_at": 5, "headers": "{", "service_id": [1], "hosts": 7}
    came = decode_row("routes", encode_row("routes", route(None, paths=["/"])) | wrong)
    assert {name: came[name] for name in wrong} == wrong


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_json_nested_too_deep_spoils_its_own_row_and_no_other() -> None:
    batch = Batch(
        "routes",
        [route(None, paths=["/1"]) | {"headers": nested(100_000)}, route(None, paths=["/2"])],
        [],
    )
    bad, good = decode_batch(from_text(to_text(encode_batch(batch)))).rows
    assert isinstance(bad["headers"], str)
    assert good == batch.rows[1]


def test_json_that_only_the_writer_could_read_stays_a_text() -> None:
    text = "[" * 100_000 + "]" * 100_000
    plain = encode_row("routes", route(None, paths=["/"])) | {"headers": text}
    assert decode_row("routes", plain)["headers"] == text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", b"\xff"])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(WireError, match="not"):
        from_text(text)


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"table": "routes"},
        {"table": "routes", "rows": None, "deleted": []},
        {"table": "routes", "rows": ["text"], "deleted": []},
        {"table": "routes", "rows": [], "deleted": ["no id"]},
        {"table": [], "rows": [], "deleted": []},
    ],
)
def test_what_is_no_batch_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="not a batch"):
        decode_batch(plain)


@pytest.mark.parametrize("wrong", [{"epoch": "?"}, {"version": None}, {"committed_at": "today"}])
def test_what_is_no_mark_is_refused(wrong: dict[str, Any]) -> None:
    mark = VersionMark(UUID(int=1), 1, service()["created_at"])
    assert decode_mark(encode_mark(mark)) == replace(mark)
    with pytest.raises(WireError, match="not a version mark"):
        decode_mark(encode_mark(mark) | wrong)


def test_the_text_is_plain_ascii_whatever_is_in_it() -> None:
    text = to_text(encode_row("services", service(name="grüße") | {"host": "\ud800\x00"}))
    assert text.isascii()
    assert json.loads(text)["host"] == "\ud800\x00"

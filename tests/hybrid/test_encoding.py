"""Batches as messages: nothing is lost, and no message is too large to be taken."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from structlog.testing import capture_logs

from gateway.hybrid.encoding import GOOD_BYTES, messages
from gateway.hybrid.protocol import MOST_BYTES_ANSWERED, decode_answered
from gateway.store.source import Batch
from tests.store.rows import service


def decoded(batch: Batch) -> list[Batch]:
    found = [decode_answered(message) for message in messages(batch)]
    assert all(isinstance(part, Batch) for part in found)
    return found  # type: ignore[return-value]


def row(**fields: Any) -> dict[str, Any]:
    return {"id": uuid4(), **service(**fields)}


def test_a_usual_batch_is_one_message() -> None:
    gone = uuid4()
    batch = Batch("services", [row(name="a"), row(name="b")], [gone])
    (part,) = decoded(batch)
    assert part.table == "services"
    assert [r["name"] for r in part.rows] == ["a", "b"]
    assert [r["id"] for r in part.rows] == [r["id"] for r in batch.rows]
    assert part.deleted == [gone]


def test_an_empty_batch_is_none() -> None:
    assert list(messages(Batch("services", [], []))) == []


def test_large_rows_are_spread_over_messages_in_their_order() -> None:
    batch = Batch("services", [row(name=f"{n}" + "x" * 100_000) for n in range(10)], [uuid4()])
    parts = decoded(batch)
    assert len(parts) == 5
    assert [r["id"] for part in parts for r in part.rows] == [r["id"] for r in batch.rows]
    assert [part.deleted for part in parts] == [[], [], [], [], batch.deleted]
    assert all(len(message) < GOOD_BYTES + 1024 for message in messages(batch))


def test_a_row_that_no_message_can_hold_is_named_and_left_out() -> None:
    monster = row(name="x" * MOST_BYTES_ANSWERED)
    small = row(name="small")
    with capture_logs() as log:
        (part,) = decoded(Batch("services", [monster, small], []))
    assert [r["name"] for r in part.rows] == ["small"]
    assert part.deleted == [monster["id"]]
    assert [(line["entity"], UUID(line["id"])) for line in log] == [("services", monster["id"])]
    assert "xxx" not in str(log)

"""Carries a plan out, in a transaction that is there already."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from gateway.declarative.plan import Plan
from gateway.entities import ENTITIES
from gateway.store.transactions import WriteTransaction

ROWS_AT_ONCE = 1000
"""Rows in one statement, each of which has a deadline."""

T = TypeVar("T")


async def write(plan: Plan, transaction: WriteTransaction, tell: Callable[[int], None]) -> None:
    """Write all changes; ``tell`` is told after each statement how many are written.

    Raises StoreError.
    """
    written = 0
    for table, ids in plan.yielding.items():
        for some in _batches(ids):
            await transaction.give_up_uniques(table, some)
    for table in ENTITIES:
        for updates in _batches(plan.of(table, "update")):
            await transaction.update_many(table, [change.row for change in updates])
            tell(written := written + len(updates))
        for creates in _batches(plan.of(table, "create")):
            await transaction.insert_many(table, [change.row for change in creates])
            tell(written := written + len(creates))
    for table in reversed(ENTITIES):
        for deletes in _batches(plan.of(table, "delete")):
            await transaction.delete(table, *(change.row["id"] for change in deletes))
            tell(written := written + len(deletes))


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(itertools.islice(rest, ROWS_AT_ONCE)):
        yield batch

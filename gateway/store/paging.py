"""Pages of rows, read in bites that neither hold the event loop nor fill the memory.

How large rows are only the database knows before they are sent, so it measures them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, func, literal_column, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

BITE_BYTES = 1_048_576
"""Text of the rows that are read in one go; a single row may have more."""
PAGE_BYTES = 8 * BITE_BYTES
"""Text of the rows after which a page ends, however many were asked for."""

Found = dict[str, Any]
Columns = ReadOnlyColumnCollection[str, Any]
Order = Callable[[Columns], Sequence[ColumnElement[Any]]]
Ask = Callable[[Select[Any]], Awaitable[Sequence[Found]]]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order. After a page that ended early for its size ``has_more`` may be wrong."""

    rows: list[Found]
    has_more: bool


async def read_page(
    ask: Ask, rest: Callable[[Sequence[Found]], Select[Any]], order: Order, size: int, at_once: int
) -> Page:
    """Return up to ``size`` rows, and at least one if there is any.

    :param ask: runs a statement.
    :param rest: returns the query for what comes after the rows that it is given, in ``order``.
    :param at_once: rows that are read in one go.
    """
    rows: list[Found] = []
    read_bytes = 0
    while read_bytes < PAGE_BYTES:
        limit = min(size + 1 - len(rows), at_once)
        bite = [dict(row) for row in await ask(_bite(rest(rows).limit(limit), order))]
        asked, end_bytes = 0, 0
        for row in bite:
            asked, end_bytes = row.pop("bite_rows"), row.pop("bite_end")
            del row["bite_start"]
        rows += bite
        read_bytes += end_bytes
        if len(rows) > size:
            return Page(rows[:size], has_more=True)
        if len(bite) == asked < limit:
            return Page(rows, has_more=False)
        if len(bite) < asked:  # to measure rows costs the database as much as to send them
            at_once = 2 * len(bite)
    return Page(rows, has_more=True)


def _bite(query: Select[Any], order: Order) -> Select[Any]:
    """Return the query for the first rows of another one that are not too large together."""
    asked = query.subquery("asked")
    size = func.octet_length(cast(literal_column("asked"), Text))
    end = func.sum(size).over(order_by=order(asked.c), rows=(None, 0))
    measured = select(
        asked,
        end.label("bite_end"),
        (end - size).label("bite_start"),
        func.count().over().label("bite_rows"),
    ).subquery("measured")
    small_enough = select(measured).where(measured.c.bite_start < BITE_BYTES)
    return small_enough.order_by(*order(measured.c))

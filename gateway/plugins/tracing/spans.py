"""When the parts of a request took place: the tries to have it answered, each with its span."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gateway.access_log import Record, Try
from gateway.plugins.tracing.trace import Trace, new_id


class TrySpan(NamedTuple):
    """A try to have a request answered; ``number`` counts from 0, times are seconds since 1970.

    ``status`` is that of the answer, 0 if none came; ``problem`` then says why.
    """

    id: int
    number: int
    started_at: float
    ended_at: float
    address: str
    port: int
    status: int
    problem: str


def end_of(record: Record) -> float:
    """Return when a request was over, in seconds since 1970."""
    return record.started_at + record.total_ms / 1000


def tries_of(record: Record, trace: Trace) -> Iterator[TrySpan]:
    """Yield the tries; the service knows the last one's id, as what it was asked by."""
    ends = [following.started_at for following in record.tries[1:]]
    for number, one in enumerate(record.tries):
        is_last = number == len(ends)
        yield TrySpan(
            id=trace.client_id if is_last else new_id(8),
            number=number,
            started_at=one.started_at,
            ended_at=end_of(record) if is_last else ends[number],
            address=one.address,
            port=one.port,
            status=0 if one.status else record.status,
            problem=_problem(one),
        )


def _problem(one: Try) -> str:
    match one.status:
        case 0:
            return ""
        case 504:
            return "timeout"
        case _:
            return "no_response"

"""When the parts of a request took place: the tries to have it answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gateway.access_log import Record, Try


class TimedTry(NamedTuple):
    """A try to have a request answered; ``number`` counts from 0, times are seconds since 1970.

    ``is_last`` is whether no other followed. ``status`` is that of the answer, 0 if none came;
    ``problem`` then says why.
    """

    number: int
    is_last: bool
    started_at: float
    ended_at: float
    address: str
    port: int
    status: int
    problem: str


def end_of(record: Record) -> float:
    """Return when a request was over, in seconds since 1970."""
    return record.started_at + record.total_ms / 1000


def tries_of(record: Record) -> Iterator[TimedTry]:
    """Yield the tries in their order."""
    ends = [following.started_at for following in record.tries[1:]]
    for number, one in enumerate(record.tries):
        is_last = number == len(ends)
        yield TimedTry(
            number=number,
            is_last=is_last,
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

"""Counters of rate limits that all nodes have in common: a row for each of somebody's periods.

A row belongs to one window at a time, and goes on to the next with the first count for that: there
are as many rows as there is somebody to count, however short the periods. Whom they are for is kept
as a digest: it may be an address, or a header that is a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

from sqlalchemy import text

from gateway.plugins.counter_store import Count, CounterStoreError, Key, ScopeKey, Totals
from gateway.store.errors import StoreError
from gateway.store.session import Session

_SEEN_WITHIN_S = 30
"""Nodes that were last seen longer ago count no requests."""

_ADD = text("""
    WITH durability AS MATERIALIZED (
        SELECT set_config('synchronous_commit', 'off', true)
    ), told AS (
        SELECT id, number, amount, to_timestamp(starts) AS starts_at, to_timestamp(ends) AS ends_at
        FROM durability, unnest(
            CAST(:ids AS uuid[]), CAST(:starts AS float8[]), CAST(:ends AS float8[]),
            CAST(:amounts AS bigint[])
        ) WITH ORDINALITY AS given (id, starts, ends, amount, number)
    ), added AS (
        INSERT INTO rate_limit_counters AS known (id, starts_at, ends_at, used)
        SELECT id, starts_at, ends_at, amount FROM told ORDER BY id
        ON CONFLICT (id) DO UPDATE SET
            starts_at = excluded.starts_at,
            ends_at = excluded.ends_at,
            used = excluded.used
                + CASE WHEN known.starts_at = excluded.starts_at THEN known.used ELSE 0 END
        WHERE known.starts_at <= excluded.starts_at OR known.starts_at > clock_timestamp()
        RETURNING id, used
    )
    SELECT
        extract(epoch FROM clock_timestamp())::float8 AS now,
        (
            SELECT count(*) FROM nodes
            WHERE role <> 'control-plane'
                AND last_seen_at > clock_timestamp() - make_interval(secs => :seen_within_s)
        ) AS nodes,
        added.used
    FROM (VALUES (1)) AS once
        LEFT JOIN (told LEFT JOIN added USING (id)) ON true
    ORDER BY told.number
""").bindparams(seen_within_s=_SEEN_WITHIN_S)
"""In the order of ids, so that nodes that tell at the same time do not lock each other out.

A window that has not begun is a mistake of some clock, and gives way. A crash of the server may
lose the counts of its last moments.
"""

FORGET_OVER = text("""
    DELETE FROM rate_limit_counters WHERE ctid IN (
        SELECT ctid FROM rate_limit_counters
        WHERE ends_at < clock_timestamp() - interval '1 minute'
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    )
""")
"""There is no index for it: that would be written with each new window."""


class RateLimitCounters:
    """The counters in the database, as plugins see them (`CounterStore`)."""

    place = "the database"

    def __init__(self, open_session: Callable[[], AbstractAsyncContextManager[Session]]) -> None:
        self._open_session = open_session

    async def add(self, counts: Sequence[Count]) -> Totals:
        """Add to counters, in one statement. Raises CounterStoreError."""
        values = {
            "ids": [_id(count) for count in counts],
            "starts": [count.start for count in counts],
            "ends": [count.end for count in counts],
            "amounts": [count.amount for count in counts],
        }
        try:
            async with self._open_session() as session:
                answer = await session.execute(_ADD.bindparams(**values))
                rows = answer.all()
        except StoreError as error:
            raise CounterStoreError(str(error)) from error
        used = [row.used for row in rows] if counts else []
        return Totals(used, rows[0].now, rows[0].nodes)

    async def close(self) -> None:
        """Leave the connections to the store."""


def _id(count: Count) -> UUID:
    """Return what a counter is known by: the same on all nodes."""
    digest = blake2b(_scope(count.scope, count.period), digest_size=16)
    digest.update(_who(count.key))
    return UUID(bytes=digest.digest())


@lru_cache(4096)
def _scope(scope: ScopeKey, period: str) -> bytes:
    limit = "" if scope.limit is None else f"={scope.limit}"
    return f"{scope.route_id}:{scope.service_id}:{period}{limit}\0".encode()


def _who(key: Key) -> bytes:
    return b"#" + key.to_bytes(16) if isinstance(key, int) else b"=" + key

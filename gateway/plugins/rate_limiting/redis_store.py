"""Counters in Redis, under the keys that Kong uses (plugins.md section 5.6).

What several nodes count there they count together, whatever gateway they are. The client is
imported when it is needed, in a thread as that takes long: other nodes do not pay for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from gateway.plugins.counter_store import Count, CounterStoreError, Key, Totals
from gateway.plugins.rate_limiting.policy import Redis

if TYPE_CHECKING:
    from redis.asyncio import Redis as Client

MOST_CONNECTIONS = 50

_CLOSE_S = 1.0
_MOST_AT_ONCE = 50
"""Counts: the client takes 1.3 ms for them."""
_NOBODY = UUID(int=0)
_PRINTABLE = re.compile(r"[^\x20-\x7e]")


class RedisCounters:
    """The counters in one Redis (`CounterStore`)."""

    def __init__(self, at: Redis) -> None:
        self.place = f"Redis at {at.host}:{at.port}"
        self._at = at
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def add(self, counts: Sequence[Count]) -> Totals:
        """Add to counters, some at a time, each lot in a transaction. Raises CounterStoreError."""
        totals = await self._add(counts[:_MOST_AT_ONCE])
        for start in range(_MOST_AT_ONCE, len(counts), _MOST_AT_ONCE):
            more = await self._add(counts[start : start + _MOST_AT_ONCE])
            totals = Totals([*totals.counted, *more.counted], more.now, more.nodes)
        return totals

    async def _add(self, counts: Sequence[Count]) -> Totals:
        try:
            async with (await self._connected()).pipeline(transaction=True) as pipeline:
                pipeline.time()
                for count in counts:
                    key = _name(count)
                    if count.amount:
                        pipeline.incrby(key, count.amount)
                        pipeline.expire(key, count.length_s)
                    else:
                        pipeline.get(key)
                (seconds, microseconds), *answers = await pipeline.execute()
            totals = list(_totals(counts, iter(answers)))
            return Totals(totals, seconds + microseconds / 1e6, 1)
        except Exception as error:
            await self.close()
            raise CounterStoreError(_reason(error)) from error

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                self._client = await asyncio.to_thread(_client, self._at)
            return self._client

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                async with asyncio.timeout(_CLOSE_S):
                    await client.aclose()


def _client(at: Redis) -> Client:
    from redis.asyncio import BlockingConnectionPool  # noqa: PLC0415
    from redis.asyncio import Redis as Client  # noqa: PLC0415
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    pool = BlockingConnectionPool(
        max_connections=MOST_CONNECTIONS,
        timeout=None,  # whoever waits has a deadline
        host=at.host,
        port=at.port,
        db=at.database,
        username=at.username,
        password=at.password,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        socket_connect_timeout=None,
        **(_tls(at) if at.ssl else {}),
    )
    return Client.from_pool(pool)


def _tls(at: Redis) -> Mapping[str, Any]:
    from redis.asyncio import SSLConnection  # noqa: PLC0415

    class NamedConnection(SSLConnection):
        """A connection that asks for a server of this name."""

        def _connection_arguments(self) -> Mapping[str, Any]:
            return {**super()._connection_arguments(), "server_hostname": at.server_name or at.host}

    return {
        "connection_class": NamedConnection,
        "ssl_cert_reqs": "required" if at.ssl_verify else "none",
        "ssl_check_hostname": at.ssl_verify,
    }


def _name(count: Count) -> str:
    route_id, service_id, limit = count.scope
    start_ms = int(count.start) * 1000
    window = f"{start_ms}:{count.period}" if limit is None else f"{start_ms}:{limit}:{count.period}"
    return f"ratelimit:{route_id or _NOBODY}:{service_id or _NOBODY}:{_who(count.key)}:{window}"


def _who(key: Key) -> str:
    return str(UUID(int=key)) if isinstance(key, int) else key.decode("latin-1")


def _totals(counts: Sequence[Count], answers: Iterator[Any]) -> Iterator[int]:
    for count in counts:
        yield int(next(answers) or 0)
        if count.amount:
            next(answers)  # whether it expires


def _reason(error: Exception) -> str:
    """Return what has happened, in one line whatever has been answered."""
    return _PRINTABLE.sub("?", f"{type(error).__name__}: {error}")[:200]

"""What nodes and database have counted: read before and after, subtracted.

Of each node `/metrics` on its status listener is read: questions for a newer version, requests,
and the histogram of stale windows as the node itself sees them. Of PostgreSQL the number of
transactions committed in the database. Its backends report theirs at most once a second, so over
few seconds that is out by a transaction or two per connection; the lab's own readings are in it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import psycopg
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway.lab.cluster import LabError
from gateway.lab.staleness.result import Counted
from gateway.lab.staleness.target import Target
from gateway.lab.staleness.wire import Connection, Origin, WireError

DATABASE_TIMEOUT_S = 10.0
_TRANSACTIONS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
_QUESTIONS = ("gateway_config_syncs_total", "kong_config_syncs_total")
_REQUESTS = ("gateway_requests_total", "kong_nginx_requests_total")
_WINDOWS = ("gateway_config_propagation_ms_bucket", "kong_config_propagation_ms_bucket")


@dataclass(frozen=True, slots=True)
class NodeReading:
    """What one node has counted; ``windows`` are cumulative counts by upper bound in ms."""

    questions: float = 0
    requests: float = 0
    windows: Mapping[float, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """All nodes and the database at one moment of the event loop's clock."""

    at_s: float
    nodes: Mapping[str, NodeReading]
    transactions: int | None


def read_samples(samples: Iterable[Sample]) -> NodeReading:
    """Return what counts of a node's metrics."""
    totals: defaultdict[str, float] = defaultdict(float)
    windows: dict[float, int] = {}
    for sample in samples:
        if sample.name in _WINDOWS:
            windows[float(sample.labels["le"])] = int(sample.value)
        else:
            totals[sample.name] += sample.value
    return NodeReading(
        questions=sum(totals[name] for name in _QUESTIONS),
        requests=sum(totals[name] for name in _REQUESTS),
        windows=windows,
    )


def counted(before: Reading, after: Reading, nodes: int) -> Counted:
    """Return the rates between two readings, per node of ``nodes``."""
    duration_s = after.at_s - before.at_s

    def rate(first: float, last: float) -> float:
        return (last - first) / duration_s / nodes

    def of_nodes(name: str) -> float | None:
        if not after.nodes:
            return None
        first, last = (
            sum(getattr(node, name) for node in reading.nodes.values())
            for reading in (before, after)
        )
        return rate(first, last)

    return Counted(
        duration_s=duration_s,
        questions=of_nodes("questions"),
        requests=of_nodes("requests"),
        transactions=(
            None
            if before.transactions is None or after.transactions is None
            else rate(before.transactions, after.transactions)
        ),
    )


def windows_between(before: Reading, after: Reading, names: Iterable[str]) -> dict[float, int]:
    """Return the growth of the windows' histogram, of the named nodes together."""
    growth: Counter[float] = Counter()
    for name in names:
        growth.update(after.nodes[name].windows)
        growth.subtract(before.nodes[name].windows)
    return dict(growth)


class Meters:
    """Reads the counters of one cluster."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._database: psycopg.AsyncConnection[tuple[int]] | None = None

    async def __aenter__(self) -> Self:
        if self._target.database_url:
            self._database = await psycopg.AsyncConnection.connect(
                self._target.database_url,
                autocommit=True,
                connect_timeout=int(DATABASE_TIMEOUT_S),
                application_name="gateway-lab",
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._database is not None:
            await self._database.close()

    async def read(self) -> Reading:
        """Read everything now. Raises `LabError` if something does not answer."""
        at_s = asyncio.get_running_loop().time()
        origins = self._target.status
        readings = await asyncio.gather(*map(_read_node, origins.values()))
        return Reading(
            at_s, dict(zip(origins, readings, strict=True)), await self._read_transactions()
        )

    async def _read_transactions(self) -> int | None:
        if self._database is None:
            return None
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            row = await (await self._database.execute(_TRANSACTIONS)).fetchone()
        return row[0] if row else None


async def _read_node(origin: Origin) -> NodeReading:
    with Connection(origin) as connection:
        try:
            answer = await connection.request("GET", "/metrics")
        except WireError as error:
            raise LabError(f"/metrics of {error}") from None
    if answer.status != 200:
        raise LabError(f"{origin}/metrics answers {answer.status}: is it a status listener?")
    families = text_string_to_metric_families(answer.body.decode())
    return read_samples(sample for family in families for sample in family.samples)

"""What probes of nodes have found, kept for a moment for the nodes that rely on them.

Ages are by the database's clock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from gateway.balancing.health import Report
from gateway.balancing.shared_probes import Finding
from gateway.store.store import Store

MOST_AT_ONCE = 200
"""Reports in one statement: to read so many takes a millisecond."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Who lives and shares probes, and what others have reported, the oldest first.

    ``now`` is the database's clock. ``rest_since`` is where to go on if there is more.
    """

    now: datetime
    live: list[UUID]
    findings: list[Finding]
    rest_since: datetime | None


class ProbeReports:
    """The table of reports, as one node uses it. All methods raise StoreError.

    Nodes live that were heard of within ``alive_s``; reports count for ``fresh_s``.
    """

    def __init__(self, store: Store, node_id: UUID, alive_s: float, fresh_s: float) -> None:
        self._store = store
        self._node_id = node_id
        self._ages = {"alive_s": alive_s, "fresh_s": fresh_s}

    async def write(self, findings: Sequence[Finding]) -> None:
        """Report what this node has found, in one statement."""
        reports = json.dumps([_plain(finding) for finding in findings])
        async with self._store.autocommit() as session:
            await session.execute(_WRITE.bindparams(node_id=self._node_id, reports=reports))

    async def read(self, since: datetime | None) -> Heard:
        """Return what others have reported since then that is fresh, in one statement.

        What is told of the moment itself, at the end of one answer, may come in the next one too.
        """
        question = _READ.bindparams(node_id=self._node_id, since=since, **self._ages)
        async with self._store.autocommit() as session:
            row = (await session.execute(question)).one()
        reports = row.reports or []
        is_all = len(reports) < MOST_AT_ONCE
        return Heard(
            row.now,
            list(map(UUID, row.live or ())),
            list(map(_finding, reports)),
            None if is_all else datetime.fromisoformat(reports[-1]["reported_at"]),
        )


_WRITE = text("""
    INSERT INTO probe_reports (
        upstream_id, host, address, port, node_id, report, reason, number, streak, reported_at
    )
    SELECT
        upstream_id, host, address, port, CAST(:node_id AS uuid), report, reason, number, streak,
        clock_timestamp()
    FROM jsonb_to_recordset(CAST(:reports AS jsonb)) AS reported (
        upstream_id uuid, host text, address text, port integer, report text, reason text,
        number bigint, streak integer
    )
    ON CONFLICT (upstream_id, host, address, port, node_id) DO UPDATE SET
        report = excluded.report,
        reason = excluded.reason,
        number = excluded.number,
        streak = excluded.streak,
        reported_at = excluded.reported_at
""")

_READ = text(f"""
    WITH seen AS MATERIALIZED (SELECT clock_timestamp() AS now)
    SELECT
        now,
        (
            SELECT array_agg(id::text) FROM nodes
            WHERE role = 'traditional' AND (health ->> 'shares_probes')::boolean
                AND last_seen_at >= now - make_interval(secs => :alive_s)
        ) AS live,
        (
            SELECT jsonb_agg(to_jsonb(found) ORDER BY reported_at) FROM (
                SELECT * FROM probe_reports
                WHERE node_id <> :node_id AND reported_at >= greatest(
                    CAST(:since AS timestamptz), now - make_interval(secs => :fresh_s)
                )
                ORDER BY reported_at
                LIMIT {MOST_AT_ONCE}
            ) AS found
        ) AS reports
    FROM seen
""")  # noqa: S608 - a number of ours
"""One row."""


def _plain(finding: Finding) -> dict[str, Any]:
    upstream_id, (host, ip, port) = finding.address
    return {
        "upstream_id": str(upstream_id),
        "host": host,
        "address": ip,
        "port": port,
        "report": "" if finding.report is None else finding.report.name.lower(),
        "reason": finding.reason,
        "number": finding.number,
        "streak": finding.streak,
    }


def _finding(row: dict[str, Any]) -> Finding:
    return Finding(
        (UUID(row["upstream_id"]), (row["host"], row["address"], row["port"])),
        UUID(row["node_id"]),
        _REPORTS.get(row["report"]),
        row["reason"],
        row["number"],
        row["streak"],
    )


_REPORTS = {report.name.lower(): report for report in Report}
"""A word of a later release says nothing."""

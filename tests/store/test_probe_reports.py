"""Reports of probes: what one node writes, the others read, as long as it is fresh."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from gateway.balancing.health import Report
from gateway.balancing.shared_probes import Finding
from gateway.store.nodes import Heartbeat
from gateway.store.probe_reports import MOST_AT_ONCE, ProbeReports
from gateway.store.store import Store
from tests.scenarios.sql import rows, run_sql

ALIVE_S, FRESH_S = 5.0, 20.0
HERE, THERE = uuid4(), uuid4()
UPSTREAM = uuid4()


def found(report: Report | None = Report.SUCCESS, *, port: int = 80, number: int = 1) -> Finding:
    address = (UPSTREAM, ("a.internal", "10.0.0.1", port))
    return Finding(address, THERE, report, "status 200", number, streak=1)


@pytest.fixture
def here(store: Store) -> ProbeReports:
    return ProbeReports(store, HERE, ALIVE_S, FRESH_S)


@pytest.fixture
def there(store: Store) -> ProbeReports:
    return ProbeReports(store, THERE, ALIVE_S, FRESH_S)


async def grow_old(database_url: str, seconds: float) -> None:
    change = f"reported_at = reported_at - interval '{seconds} seconds'"
    await run_sql(database_url, f"UPDATE probe_reports SET {change}")


@pytest.mark.parametrize("report", [*Report, None])
async def test_what_one_node_reports_another_one_reads(
    here: ProbeReports, there: ProbeReports, report: Report | None
) -> None:
    await there.write([found(report)])
    assert (await here.read(None)).findings == [found(report)]


async def test_nobody_reads_what_it_has_written(there: ProbeReports) -> None:
    await there.write([found()])
    assert (await there.read(None)).findings == []


async def test_only_the_last_report_of_an_address_is_kept(
    here: ProbeReports, there: ProbeReports
) -> None:
    await there.write([found(), found(port=81)])
    await there.write([found(Report.TIMEOUT, number=2)])
    read = (await here.read(None)).findings
    assert read == [found(port=81), found(Report.TIMEOUT, number=2)]


async def test_reports_are_read_from_where_one_left_off(
    here: ProbeReports, there: ProbeReports
) -> None:
    await there.write([found()])
    now = (await here.read(None)).now
    assert (await here.read(now)).findings == []
    await there.write([found(port=81)])
    assert (await here.read(now)).findings == [found(port=81)]


async def test_what_is_old_is_not_read(
    here: ProbeReports, there: ProbeReports, database_url: str
) -> None:
    await there.write([found()])
    await grow_old(database_url, FRESH_S - 10)
    assert (await here.read(None)).findings == [found()]
    await grow_old(database_url, 10)
    assert (await here.read(None)).findings == []


async def test_more_than_fits_is_read_with_further_questions(
    here: ProbeReports, there: ProbeReports
) -> None:
    for port in range(3):
        await there.write([found(port=port * MOST_AT_ONCE + k) for k in range(MOST_AT_ONCE - 10)])
    ports, since = set[int](), None
    for _ in range(3):
        heard = await here.read(since)
        ports |= {finding.address[1][2] for finding in heard.findings}
        since = heard.rest_since
    assert since is None
    assert len(ports) == 3 * (MOST_AT_ONCE - 10)


async def test_live_are_those_that_share_probes(here: ProbeReports, store: Store) -> None:
    beat = Heartbeat(
        id=HERE,
        name="here",
        proxy_address="127.0.0.1:1",
        admin_address="127.0.0.1:2",
        status_address="127.0.0.1:3",
        started_at=datetime.now(UTC),
        applied_version=None,
        applied_committed_at=None,
        strategy="poll",
        software_version="0",
        role="traditional",
        health={"shares_probes": True},
    )
    for other in (
        beat,
        replace(beat, id=THERE),
        replace(beat, id=UUID(int=1), health={"shares_probes": False}),
        replace(beat, id=UUID(int=2), health={}),  # of the release before
        replace(beat, id=UUID(int=3), role="control-plane"),
    ):
        await store.heartbeat(other)
    assert set((await here.read(None)).live) == {HERE, THERE}


async def test_silent_nodes_do_not_live(
    here: ProbeReports, store: Store, database_url: str
) -> None:
    await test_live_are_those_that_share_probes(here, store)
    await run_sql(
        database_url, "UPDATE nodes SET last_seen_at = last_seen_at - interval '10 seconds'"
    )
    assert (await here.read(None)).live == []


async def test_old_reports_are_tidied_away(
    there: ProbeReports, store: Store, database_url: str
) -> None:
    await there.write([found()])
    await grow_old(database_url, 61)
    await there.write([found(port=81)])
    await store.tidy()
    assert await rows(database_url, "SELECT port FROM probe_reports") == [(81,)]

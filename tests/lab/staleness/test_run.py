"""The measurement itself, on real clusters: what it must see, whatever the machine is busy with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.lab.cluster import LabCluster, LabError
from gateway.lab.staleness.changes import Kind
from gateway.lab.staleness.report import write_report
from gateway.lab.staleness.result import StrategyResult
from gateway.lab.staleness.run import Plan, Running, run
from gateway.lab.staleness.summary import summarize
from gateway.lab.strategies import Strategy, parse_strategies
from gateway.lab.upstream import EchoUpstream
from tests.scenarios.nodes import http_client

CHANGES = 6


class Counting:
    """Progress that only counts."""

    def __init__(self) -> None:
        self.changes: Counter[str] = Counter()
        self.has_moved = asyncio.Event()

    def begin(self, strategy: Strategy) -> Callable[[], object]:
        def count() -> None:
            self.changes[strategy.label] += 1
            self.has_moved.set()

        return count


def plan(strategies: str, database_url: str = "", **options: object) -> Plan:
    chosen = parse_strategies(strategies)
    given = {"changes": CHANGES, "seed": 1, "nodes": 2, "idle_s": 0.1, **options}
    return Plan(chosen, database_url=database_url, **given)


def all_was_observed(measured: StrategyResult) -> None:
    assert [change.number for change in measured.changes] == list(range(1, CHANGES + 1))
    summary = summarize(measured)
    assert (summary.observed, summary.missed) == (CHANGES * len(measured.nodes), 0)
    assert summary.p50_ms <= summary.p90_ms <= summary.p99_ms <= summary.max_ms
    assert all(change.write_ms > 0 for change in measured.changes)


async def test_notify_is_measured_from_outside_and_by_the_nodes_themselves(
    database_url: str, tmp_path: Path
) -> None:
    progress = Counting()
    result = await run(plan("notify", database_url, routes=50), progress)
    (notify,) = result.strategies
    all_was_observed(notify)
    assert progress.changes == {"notify": CHANGES}
    assert [change.kind for change in notify.changes] == [*Kind, *Kind]
    assert notify.nodes == ("node-2",)
    assert notify.busy.questions > 0
    assert notify.busy.transactions > 0
    assert notify.busy.requests > 0
    assert 0 < notify.own_windows[float("inf")] <= CHANGES
    written = write_report(result, tmp_path)
    assert {path.suffix for path in written} == {".json", ".csv", ".svg", ".html"}
    assert (tmp_path / "report.html").read_text().count("<svg") == 4


async def test_the_lab_can_see_staleness(database_url: str) -> None:
    """Under a poll, six changes at random moments cannot all fall upon a question."""
    (poll,) = (await run(plan("poll:200ms", database_url), Counting())).strategies
    all_was_observed(poll)
    assert sum(observation.stale_answers for observation in poll.observations()) > 0
    assert poll.poll_interval_s == 0.2


async def test_hybrid_is_written_through_a_control_plane_and_probed_at_its_data_planes(
    database_url: str,
) -> None:
    (hybrid,) = (await run(plan("hybrid", database_url), Counting())).strategies
    all_was_observed(hybrid)
    assert hybrid.nodes == ("data-plane-1", "data-plane-2")
    assert hybrid.busy.transactions > 0


async def test_other_clients_can_load_the_proxies_meanwhile(database_url: str) -> None:
    loaded = plan("notify", database_url, load_connections=2)
    (notify,) = (await run(loaded, Counting())).strategies
    all_was_observed(notify)
    probes = sum(len(observation.answers) for observation in notify.observations())
    read = notify.busy.requests * 2 * notify.busy.duration_s
    assert read > 2 * probes


async def test_a_running_cluster_is_measured_and_left_as_it_was(database_url: str) -> None:
    async with LabCluster(database_url=database_url) as cluster, http_client() as http:
        first, second = await cluster.start_nodes(2)
        running = Running(
            first.url("admin"), [first.url("proxy"), second.url("proxy")], [second.url("status")]
        )
        measured = await run(plan("notify", running=running, load_connections=1), Counting())
        (strategy,) = measured.strategies
        all_was_observed(strategy)
        assert set(strategy.nodes) == {first.addresses["proxy"], second.addresses["proxy"]}
        assert strategy.busy.questions > 0
        assert strategy.busy.transactions is None
        assert strategy.own_windows[float("inf")] > 0
        await nothing_is_left(http, first.url("admin"))


async def test_a_run_that_is_broken_off_leaves_nothing_either(database_url: str) -> None:
    """Ctrl-C cancels the run."""
    async with LabCluster(database_url=database_url) as cluster, http_client() as http:
        node = await cluster.start_node()
        running = Running(node.url("admin"), [node.url("proxy")])
        progress = Counting()
        endless = plan("notify", running=running, changes=100_000, load_connections=1)
        task = asyncio.create_task(run(endless, progress))
        async with asyncio.timeout(60):
            await progress.has_moved.wait()
        assert (await http.get(f"{node.url('admin')}/routes")).json()["data"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_is_left(http, node.url("admin"))


async def test_what_cannot_be_measured_is_said_and_nothing_is_left(database_url: str) -> None:
    """A proxy that does not belong to the cluster: a mere upstream."""
    async with (
        LabCluster(database_url=database_url) as cluster,
        EchoUpstream() as stranger,
        http_client() as http,
    ):
        node = await cluster.start_node()
        running = Running(node.url("admin"), [stranger.url])
        with pytest.raises(LabError, match=r"127\.0\.0\.1:\d+ .* does not show the first add"):
            await run(plan("notify", running=running), Counting())
        await nothing_is_left(http, node.url("admin"))


async def nothing_is_left(http: object, admin_url: str) -> None:
    for kind in ("routes", "services"):
        assert (await http.get(f"{admin_url}/{kind}")).json()["data"] == []

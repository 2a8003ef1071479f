"""A whole run: one measurement after the other."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Protocol

from gateway import __version__
from gateway.lab.staleness.clusters import own_cluster, running_cluster
from gateway.lab.staleness.load import load_on
from gateway.lab.staleness.measure import measure
from gateway.lab.staleness.pace import pace
from gateway.lab.staleness.result import Result, StrategyResult
from gateway.lab.staleness.target import Target
from gateway.lab.staleness.wire import Origin
from gateway.lab.strategies import Strategy


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster that runs already, by its URLs, with a token if its Admin API asks for one."""

    admin_url: str
    proxy_urls: Sequence[str]
    status_urls: Sequence[str] = ()
    upstream_url: str = ""
    admin_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    A ``running`` cluster is measured as it is; then there is one strategy, which says what to
    expect of it. ``load_connections`` are per probed node, 0 for no load; for ``idle_s`` each
    cluster is watched before the first change.
    """

    strategies: Sequence[Strategy]
    changes: int
    seed: int
    nodes: int = 3
    routes: int = 0
    load_connections: int = 0
    idle_s: float = 10.0
    database_url: str = ""
    running: Running | None = None


class Progress(Protocol):
    """Where a run says how far it has got."""

    def begin(self, strategy: Strategy) -> Callable[[], object]:
        """Say that a strategy's turn has come; return what is to be called after each change."""
        ...


async def run(plan: Plan, progress: Progress) -> Result:
    """Measure every strategy. Raises `LabError`, `StartError`, `SettingError`."""
    started_at = datetime.now(UTC)
    results = [await _measure(strategy, plan, progress) for strategy in plan.strategies]
    return Result(
        started_at=started_at.isoformat(timespec="seconds"),
        machine=_machine(),
        under_load=plan.load_connections > 0,
        routes=plan.routes,
        seed=plan.seed,
        strategies=tuple(results),
    )


async def _measure(strategy: Strategy, plan: Plan, progress: Progress) -> StrategyResult:
    random = Random(plan.seed)  # noqa: S311 - each strategy gets the same pauses
    after_each = progress.begin(strategy)
    async with _target(strategy, plan) as target, _load(target, plan, random):
        return await measure(
            target,
            strategy,
            pace(strategy.window_s, plan.changes, len(target.probed)),
            changes=plan.changes,
            idle_s=plan.idle_s,
            random=random,
            progress=after_each,
        )


def _target(strategy: Strategy, plan: Plan) -> AbstractAsyncContextManager[Target]:
    if plan.running is None:
        return own_cluster(strategy, plan.nodes, plan.routes, plan.database_url)
    urls = plan.running
    return running_cluster(
        Origin.of(urls.admin_url, urls.admin_token),
        urls.proxy_urls,
        urls.status_urls,
        urls.upstream_url,
    )


def _load(target: Target, plan: Plan, random: Random) -> AbstractAsyncContextManager[None]:
    if not plan.load_connections:
        return nullcontext()
    return load_on(target, f"{random.getrandbits(32):08x}", plan.load_connections)


def _machine() -> dict[str, str | int]:
    return {
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "gateway": __version__,
    }

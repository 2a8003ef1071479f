"""prometheus: requests counted by consumer, and what its switches mean."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from gateway.metrics import traffic
from gateway.plugins.chain import RunningPlugin
from gateway.plugins.contract import Use
from gateway.plugins.key_auth import KeyAuth
from gateway.plugins.prometheus import ConsumerTraffic, Prometheus
from gateway.plugins.rate_limiting import RateLimiting
from gateway.testing import Serving
from tests.plugins.configs import problems

Counted = dict[str, dict[int, int]]


def with_consumers(*names: str, **config: Any) -> Serving:
    """A gateway that lets consumers in by a key that is their name."""
    gateway = Serving(Prometheus, **config)
    gateway.use(KeyAuth)
    for name in names:
        gateway.consumer(name, keyauth_credentials={"key": name})
    return gateway


async def ask_as(gateway: Serving, *names: str) -> None:
    for name in names:
        await gateway.ask("GET", "/", headers={"apikey": name})


def counted(gateway: Serving) -> Counted:
    """Return the requests by consumer and status."""
    shares = [share for route in gateway.proxy.traffic for share in route.shares()]
    return {
        share.consumer: {status: number for status, _, number in share.counts.requests()}
        for share in shares
    }


async def test_requests_are_counted_by_consumer():
    async with with_consumers("ann", "bob", per_consumer=True) as gateway:
        await ask_as(gateway, "ann", "bob", "ann", "a stranger")
        assert counted(gateway) == {"": {401: 1}, "ann": {200: 2}, "bob": {200: 1}}
        shares = [s for route in gateway.proxy.traffic for s in route.shares()]
        whole = next(iter(gateway.proxy.traffic))
        assert sum(s.counts.ingress_bytes for s in shares) == whole.ingress_bytes
        assert sum(s.counts.egress_bytes for s in shares) == whole.egress_bytes


async def test_a_refusal_counts_for_the_consumer_who_was_known_by_then():
    gateway = with_consumers("ann", per_consumer=True)
    gateway.use(RateLimiting, minute=1)
    async with gateway:
        await ask_as(gateway, "ann", "ann")
        assert counted(gateway) == {"": {}, "ann": {200: 1, 429: 1}}


async def test_without_per_consumer_nobody_is_named():
    async with with_consumers("ann") as gateway:
        await ask_as(gateway, "ann")
        assert counted(gateway) == {"": {200: 1}}


async def test_it_may_be_asked_for_one_consumer():
    gateway = Serving(KeyAuth)
    ann = gateway.consumer("ann", keyauth_credentials={"key": "ann"})
    gateway.consumer("bob", keyauth_credentials={"key": "bob"})
    gateway.use(Prometheus, {"consumer": ann}, per_consumer=True)
    async with gateway:
        await ask_as(gateway, "ann", "bob")
        assert counted(gateway) == {"": {200: 1}, "ann": {200: 1}}


async def test_consumers_beyond_the_limit_are_counted_as_one_and_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(traffic, "MOST_CONSUMER_SERIES", 2)
    async with with_consumers("a", "b", "c", "d", per_consumer=True) as gateway:
        with capture_logs() as logs:
            await ask_as(gateway, "a", "b", "c", "d", "c", "a")
        assert counted(gateway) == {
            "": {},
            "a": {200: 2},
            "b": {200: 1},
            traffic.OTHER_CONSUMERS: {200: 3},
        }
        assert gateway.proxy.traffic.consumer_overflows == 3
    assert [entry["log_level"] for entry in logs] == ["warning"]


async def test_one_plugin_that_asks_for_the_health_of_targets_is_enough():
    gateway = Serving(Prometheus)
    asks = gateway.use(Prometheus, {"route": gateway.entity("routes", paths=["/b"])})
    async with gateway:
        wanted = gateway.proxy.traffic
        assert not wanted.health_wanted
        asks["config"]["upstream_health_metrics"] = True
        asks["updated_at"] += timedelta(seconds=1)
        await gateway.apply()
        assert wanted.health_wanted
        gateway.remove("plugins", asks)
        await gateway.apply()
        assert not wanted.health_wanted


def test_what_counts_nothing_has_no_phase():
    config = Prometheus.Config(status_code_metrics=True, latency_metrics=True)
    use = Use(uuid4(), Prometheus.name)
    running = RunningPlugin(Prometheus(config, use, ConsumerTraffic(traffic.TrafficMetrics())))
    assert (running.access, running.header_filter, running.ended, running.log) == (None,) * 4


def test_what_there_is_not_is_refused():
    assert problems(Prometheus, {"ai_metrics": True}) == {
        "ai_metrics": "there are no plugins for AI here that could be measured"
    }
    assert problems(Prometheus, {"ai_metrics": False, "status_code_metrics": False}) == {}

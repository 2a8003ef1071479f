"""What plugins measure, and what becomes of a plugin that cannot tell."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from structlog.testing import capture_logs

from gateway.access_log import Record
from gateway.plugins.contract import NodeServices, Plugin
from gateway.plugins.request import Request
from gateway.testing import Serving


class Counts:
    """How many requests there were, of one plugin."""

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self.number = 0

    def metrics(self) -> Iterator[Metric]:
        family = CounterMetricFamily("counting_requests", "Requests.", labels=["plugin"])
        family.add_metric([self.plugin], self.number)
        yield family


class Counting(Plugin):
    name = "counting"
    priority = 10
    shared: Counts

    @classmethod
    def share(cls, node: NodeServices) -> Counts:
        return Counts(cls.name)

    def log(self, request: Request, record: Record) -> None:
        self.shared.number += 1


class CountingToo(Counting):
    name = "counting-too"


class AnotherType(Counting):
    name = "another-type"

    @classmethod
    def share(cls, node: NodeServices) -> Counts:
        class Gauge(Counts):
            def metrics(self) -> Iterator[Metric]:
                yield GaugeMetricFamily("counting_requests", "Requests.", value=1)

        return Gauge(cls.name)


async def test_plugins_may_add_to_the_same_family():
    gateway = Serving(Counting)
    gateway.use(CountingToo)
    async with gateway:
        await gateway.ask("GET", "/")
        assert gateway.measured("counting_requests_total", plugin="counting") == 1
        assert gateway.measured("counting_requests_total", plugin="counting-too") == 1
        assert len(list(gateway.plugins.metrics())) == 1


async def test_a_plugin_that_cannot_tell_is_named_and_the_others_are_told():
    gateway = Serving(Counting)
    gateway.use(AnotherType)
    async with gateway:
        await gateway.ask("GET", "/")
        with capture_logs() as logs:
            assert gateway.measured("counting_requests_total", plugin="counting") == 1
    assert [entry["plugin"] for entry in logs] == ["another-type"]

"""prometheus: what `/metrics` tells beyond what it always does (metrics.md sections 3 and 4).

Traffic is counted for all routes, whatever is configured. So most switches only mark what somebody
relies on; one that is off takes nothing away.
"""

from __future__ import annotations

from typing import Annotated

import structlog
from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.errors import violation
from gateway.entities.rules import Satisfies
from gateway.entities.types import PROTOCOLS
from gateway.metrics.traffic import MOST_CONSUMER_SERIES, TrafficMetrics
from gateway.plugins.contract import NodeServices, Plugin, Use
from gateway.plugins.outcome import Outcome
from gateway.plugins.request import Request

_log = structlog.get_logger(__name__)


def _check_no_ai(asked: bool) -> bool:
    if asked:
        raise violation("there are no plugins for AI here that could be measured")
    return asked


class Prometheus(Plugin):
    """Counts requests by consumer, where that is asked for."""

    name = "prometheus"
    priority = 13
    protocols = PROTOCOLS

    class Config(Record):
        """What is to be told."""

        per_consumer: bool = Field(
            default=False,
            description="Whether requests and bytes are counted by consumer; else the label "
            "`consumer` is empty.",
        )
        status_code_metrics: bool = Field(
            default=False, description="Requests by status: always counted."
        )
        latency_metrics: bool = Field(default=False, description="Latencies: always measured.")
        bandwidth_metrics: bool = Field(default=False, description="Bytes: always counted.")
        upstream_health_metrics: bool = Field(
            default=False,
            description="Whether the node tells the health of all targets; one plugin that asks "
            "for it is enough.",
        )
        ai_metrics: Annotated[bool, Satisfies(_check_no_ai)] = Field(
            default=False, description="Metrics of plugins for AI, of which there are none."
        )

    config: Config
    shared: ConsumerTraffic

    def __init__(self, config: Config, use: Use, shared: ConsumerTraffic) -> None:
        super().__init__(config, use, shared)
        if config.per_consumer:  # a phase that is not there costs nothing
            self.ended = shared.count

    def set_up(self) -> None:
        """Ask for the health of targets, if that is wanted."""
        self.shared.traffic.health_wanted += self.config.upstream_health_metrics

    def clean_up(self) -> None:
        """Ask for it no longer."""
        self.shared.traffic.health_wanted -= self.config.upstream_health_metrics

    @classmethod
    def share(cls, node: NodeServices) -> ConsumerTraffic:
        """Return what counts for the node."""
        return ConsumerTraffic(node.traffic)


class ConsumerTraffic:
    """Counts requests for their consumers."""

    def __init__(self, traffic: TrafficMetrics) -> None:
        self.traffic = traffic
        self._has_told = False

    def count(self, request: Request, outcome: Outcome) -> None:
        """Count a request that is over."""
        consumer, route = request.consumer, request.route
        if consumer is None or route is None:
            return
        name = consumer.username or consumer.custom_id or str(consumer.id)
        for counts in self.traffic.of_consumer(route.id, name):
            counts.count(*outcome)
        if self.traffic.consumer_overflows and not self._has_told:
            self._has_told = True
            _log.warning(
                "there are too many consumers to count each: new ones are counted as one",
                plugin=Prometheus.name,
                limit=MOST_CONSUMER_SERIES,
            )

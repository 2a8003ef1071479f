"""What becomes of the entries that plugins send away, in the metrics of the node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

NO_ROOM = "no_room"
"""Entries came faster than they could be delivered."""

UNDELIVERED = "undelivered"
"""They could not be delivered in time."""

STOPPED = "stopped"
"""The node has stopped before."""


class DeliveryCounts:
    """Entries of one plugin on this node, since it started: each is sent, dropped, or waits."""

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self.taken = 0
        self.sent = 0
        self.dropped: Counter[str] = Counter()  # by reason

    def metrics(self) -> Iterator[Metric]:
        """Yield the families."""
        sent = CounterMetricFamily(
            "delivery_sent",
            "Entries (log objects, traces) that a plugin has delivered.",
            labels=["plugin"],
        )
        sent.add_metric([self.plugin], self.sent)
        yield sent
        dropped = CounterMetricFamily(
            "delivery_dropped",
            "Entries of a plugin that were dropped: no_room, undelivered in time, or stopped.",
            labels=["plugin", "reason"],
        )
        for reason, number in sorted(self.dropped.items()):
            dropped.add_metric([self.plugin, reason], number)
        yield dropped
        waiting = GaugeMetricFamily(
            "delivery_waiting", "Entries of a plugin that wait to be delivered.", labels=["plugin"]
        )
        waiting.add_metric([self.plugin], self.taken - self.sent - self.dropped.total())
        yield waiting

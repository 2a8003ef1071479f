"""The plugin: which traces are told, and to whom."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.access_log import Record as Told
from gateway.plugins.contract import NodeServices, Use
from gateway.plugins.delivery import DeliveryQueue, DeliveryQueues
from gateway.plugins.http_post import place_of
from gateway.plugins.request import Request
from gateway.plugins.tracing.plugin import IDLE_S, Tracing, post_to
from gateway.plugins.tracing.propagation import Way
from gateway.plugins.tracing.trace import Trace
from gateway.plugins.zipkin.config import ZipkinConfig
from gateway.plugins.zipkin.spans import SpanWriter
from gateway.settings import Compat

_OF_THE_WAY = {"queue", "http_endpoint", "connect_timeout", "send_timeout", "read_timeout"}
"""The parameters by which queues differ."""


class Zipkin(Tracing):
    """Tells a collector the spans of requests."""

    name = "zipkin"
    priority = 100_000

    class Config(ZipkinConfig):
        """Which traces, and where to."""

    config: Config
    shared: Traces

    def __init__(self, config: Config, use: Use, shared: Traces) -> None:
        super().__init__(config, use, shared)
        self._queue = None if config.http_endpoint is None else shared.queue_for(config)
        self._spans = SpanWriter(config, shared.own, shared.node_name)
        self.follow(
            Way.of(config.propagation, config.header_type, config.default_header_type),
            config.sample_ratio,
            tells=config.http_endpoint is not None,
            response_header=config.http_response_header_for_traceid,
            id_bytes=config.traceid_byte_count,
        )

    @classmethod
    def share(cls, node: NodeServices) -> Traces:
        """Return the queues of the node."""
        return Traces(node)

    def tell(self, request: Request, record: Told, trace: Trace) -> None:
        """Queue the spans of a request."""
        if self._queue is not None:
            self._queue.put(self._spans.entry(request, record, trace))


class Traces(DeliveryQueues):
    """The queues of a node."""

    def __init__(self, node: NodeServices) -> None:
        super().__init__(node, Zipkin.name)
        self.own = "kong" if node.settings.compat is Compat.KONG else "gateway"
        self.node_name = node.settings.node_name

    def queue_for(self, config: ZipkinConfig) -> DeliveryQueue:
        """Return the queue for these parameters."""
        return self.queue(
            config.model_dump_json(include=_OF_THE_WAY),
            place_of(str(config.http_endpoint)),
            config.queue,
            lambda: ZipkinSender(config),
            IDLE_S,
        )


class ZipkinSender:
    """Sends batches to a collector."""

    def __init__(self, config: ZipkinConfig) -> None:
        headers = {"Content-Type": "application/json"}
        self._post = post_to(str(config.http_endpoint), headers, config)

    async def send(self, entries: Sequence[bytes]) -> None:
        """Send the spans of some requests. Raises DeliveryError."""
        await self._post.send(b"[" + b",".join(entries) + b"]")

    async def close(self) -> None:
        """Close the connection."""
        await self._post.close()

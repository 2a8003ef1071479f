"""The plugin: which traces are told, and to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from gateway import __version__
from gateway.access_log import Record as Told
from gateway.entities.entity import Record, Secret
from gateway.entities.errors import ENTITY, violation
from gateway.entities.rules import Between, Satisfies
from gateway.entities.types import HeaderName, Text, WholeNumber
from gateway.plugins.contract import NodeServices, Use
from gateway.plugins.delivery import DeliveryQueue, DeliveryQueues, Terms
from gateway.plugins.http_post import EndpointUrl, NotFraming, SentValue, place_of
from gateway.plugins.request import Request
from gateway.plugins.tracing.plugin import (
    IDLE_S,
    ConnectTimeout,
    HeadersOfTraces,
    Ratio,
    ReadTimeout,
    ResponseHeader,
    SendTimeout,
    Tracing,
    post_to,
)
from gateway.plugins.tracing.propagation import PRESERVE, Propagation, Way
from gateway.plugins.tracing.trace import Trace
from gateway.settings import Compat

if TYPE_CHECKING:
    from gateway.plugins.opentelemetry.otlp import SpanWriter

DEFAULT_RATE = 0.01
"""How many traces are told where nothing is said: Kong's ``tracing_sampling_rate``."""

_MOST_EARLY = 1000
"""Requests whose spans wait for what writes them to be loaded; further ones are dropped."""

_ENTRIES_AT_ONCE = 50
"""Requests whose spans are written together, so that nothing else waits for long."""

_OF_THE_WAY = {
    *("traces_endpoint", "headers", "resource_attributes", "queue"),
    *("connect_timeout", "send_timeout", "read_timeout"),
}
"""The parameters by which queues differ."""


def _refuse_logs(url: str) -> str:
    del url
    raise violation("must be null: nodes do not send their log, which goes to standard output")


class Batches(Terms):
    """How traces are queued."""

    max_batch_size: Annotated[WholeNumber, Between(1, 1_000_000)] = Field(
        default=200, description="Most requests whose spans are sent together."
    )


class OpenTelemetry(Tracing):
    """Tells a collector the spans of requests."""

    name = "opentelemetry"
    priority = 14

    class Config(Record):
        """Which traces, and where to."""

        traces_endpoint: Annotated[EndpointUrl | None, Secret()] = Field(
            default=None,
            description="URL of the collector, as `http://collector:4318/v1/traces`; with "
            "`user:password@` it logs in.",
        )
        logs_endpoint: Annotated[Text, Satisfies(_refuse_logs)] | None = Field(
            default=None, description="Would have the log of the node; it is refused."
        )
        headers: Annotated[dict[Annotated[HeaderName, NotFraming], SentValue] | None, Secret()] = (
            Field(default=None, description="Further headers for the collector.")
        )
        resource_attributes: dict[Text, Text] | None = Field(
            default=None,
            description="What else is said of the node, beside `service.name`, `service.version` "
            "and `service.instance.id`; these may be set, too.",
        )
        sampling_rate: Ratio | None = Field(
            default=None,
            description="Part of the traces that is told, where the request does not say whether; "
            f"null: {DEFAULT_RATE}.",
        )
        http_response_header_for_traceid: ResponseHeader = None
        header_type: HeadersOfTraces = PRESERVE
        propagation: Propagation = Field(
            default_factory=Propagation, description="Headers of traces."
        )
        connect_timeout: ConnectTimeout = 1000
        send_timeout: SendTimeout = 5000
        read_timeout: ReadTimeout = 5000
        queue: Batches = Field(default_factory=Batches, description="How traces are queued.")

        @model_validator(mode="before")
        @classmethod
        def _take_old_name(cls, given: Any) -> Any:
            """Take ``endpoint``, as older clients call it."""
            if isinstance(given, dict) and "endpoint" in given:
                kept = {name: value for name, value in given.items() if name != "endpoint"}
                return {"traces_endpoint": given["endpoint"]} | kept
            return given

        @model_validator(mode="after")
        def _has_endpoint(self) -> OpenTelemetry.Config:
            if self.traces_endpoint is None:
                raise violation(
                    "at least one of these fields must be non-empty: 'traces_endpoint', "
                    "'logs_endpoint'",
                    at=ENTITY,
                )
            return self

    config: Config
    shared: Traces

    def __init__(self, config: Config, use: Use, shared: Traces) -> None:
        super().__init__(config, use, shared)
        self._queue = shared.queue_for(config)
        self.follow(
            Way.of(config.propagation, config.header_type, config.propagation.default_format),
            DEFAULT_RATE if config.sampling_rate is None else config.sampling_rate,
            tells=True,
            response_header=config.http_response_header_for_traceid,
        )

    @classmethod
    def share(cls, node: NodeServices) -> Traces:
        """Return the queues of the node."""
        return Traces(node)

    def tell(self, request: Request, record: Told, trace: Trace) -> None:
        """Queue the spans of a request."""
        self.shared.tell(self._queue, request, record, trace)


class Traces(DeliveryQueues):
    """The queues of a node, and what writes the spans for them.

    That needs Protocol Buffers, which only nodes with this plugin load, in a thread: it takes a
    tenth of a second. Requests that end before wait.
    """

    def __init__(self, node: NodeServices) -> None:
        super().__init__(node, OpenTelemetry.name)
        self._own = "kong" if node.settings.compat is Compat.KONG else "gateway"
        self._resource = {
            "service.name": self._own,
            "service.version": __version__,
            "service.instance.id": node.settings.node_name,
        }
        self._spans: SpanWriter | None = None
        self._early: list[tuple[DeliveryQueue, Request, Told, Trace]] = []
        node.begin("opentelemetry", self._load())

    def queue_for(self, config: OpenTelemetry.Config) -> DeliveryQueue:
        """Return the queue for these parameters."""
        resource = self._resource | (config.resource_attributes or {})
        return self.queue(
            config.model_dump_json(include=_OF_THE_WAY),
            place_of(str(config.traces_endpoint)),
            config.queue,
            lambda: OtlpSender(config, resource),
            IDLE_S,
        )

    def tell(self, queue: DeliveryQueue, request: Request, record: Told, trace: Trace) -> None:
        """Queue the spans of a request."""
        if self._spans is not None:
            queue.put(self._spans.entry(request, record, trace))
        elif len(self._early) < _MOST_EARLY:
            self._early.append((queue, request, record, trace))
        else:
            self.refuse()

    async def _load(self) -> None:
        otlp = await asyncio.to_thread(import_module, "gateway.plugins.opentelemetry.otlp")
        self._spans = otlp.SpanWriter(self._own)
        for early in self._early:
            self.tell(*early)
        self._early.clear()


class OtlpSender:
    """Sends batches to a collector."""

    def __init__(self, config: OpenTelemetry.Config, resource: Mapping[str, str]) -> None:
        from gateway.plugins.opentelemetry.otlp import Exporter  # noqa: PLC0415 - loaded by now

        self._exporter = Exporter(resource)
        headers = {"Content-Type": "application/x-protobuf"} | (config.headers or {})
        self._post = post_to(str(config.traces_endpoint), headers, config)

    async def send(self, entries: Sequence[bytes]) -> None:
        """Send the spans of some requests. Raises DeliveryError."""
        body = b""
        for start in range(0, len(entries), _ENTRIES_AT_ONCE):  # bodies behind each other are one
            body += self._exporter.body(entries[start : start + _ENTRIES_AT_ONCE])
            await asyncio.sleep(0)
        await self._post.send(body)

    async def close(self) -> None:
        """Close the connection."""
        await self._post.close()

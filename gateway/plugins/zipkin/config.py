"""What can be set."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.entities.entity import Record, Secret
from gateway.entities.errors import violation
from gateway.entities.rules import OneOf, Satisfies
from gateway.entities.types import HeaderName, Text, WholeNumber
from gateway.plugins.delivery import Terms
from gateway.plugins.http_post import EndpointUrl
from gateway.plugins.tracing.plugin import (
    ConnectTimeout,
    HeadersOfTraces,
    Ratio,
    ReadTimeout,
    ResponseHeader,
    SendTimeout,
)
from gateway.plugins.tracing.propagation import PRESERVE, FormatName, Propagation

_RESERVED = frozenset(
    {
        *("error", "http.method", "http.path", "http.host", "http.status_code", "http.protocol"),
        *("lc", "kong.route", "kong.service", "kong.consumer", "kong.credential", "kong.node.id"),
        *("kong.balancer.try", "kong.balancer.state"),
    }
)


def _check_tag(name: str) -> str:
    if name in _RESERVED:
        raise violation(f"invalid tag name: {name} is written by the plugin")
    return name


class StaticTag(Record):
    """A tag that all spans of requests have."""

    name: Annotated[Text, Satisfies(_check_tag)] = Field(description="Its name.")
    value: Text = Field(description="Its value.")


class ZipkinPropagation(Propagation):
    """Headers of traces, beyond what ``header_type`` can say."""

    default_format: FormatName = Field(
        default="b3", description="The format for `preserve` where none was found."
    )


class ZipkinConfig(Record):
    """Which traces, and where to."""

    http_endpoint: Annotated[EndpointUrl | None, Secret()] = Field(
        default=None,
        description="URL of the collector, as `http://zipkin:9411/api/v2/spans`; null: traces are "
        "only passed on.",
    )
    sample_ratio: Ratio = Field(
        default=0.001,
        description="Part of the traces that is told, where the request does not say whether.",
    )
    local_service_name: Text = Field(
        default="kong", description="What the gateway is called in its spans."
    )
    default_service_name: Text | None = Field(
        default=None, description="What a service is called that has no name; null: nothing."
    )
    include_credential: bool = Field(
        default=True, description="Whether the id of the credential is told."
    )
    traceid_byte_count: Annotated[WholeNumber, OneOf(8, 16)] = Field(
        default=16, description="Size of new ids of traces."
    )
    static_tags: list[StaticTag] | None = Field(
        default=None, description="Tags that all spans of requests have."
    )
    tags_header: HeaderName = Field(
        default="Zipkin-Tags",
        description="Header by which a request has tags of its own: `fg=blue; bg=red`.",
    )
    http_span_name: Annotated[Text, OneOf("method", "method_path")] = Field(
        default="method", description="What spans of requests are called."
    )
    phase_duration_flavor: Annotated[Text, OneOf("annotations", "tags")] = Field(
        default="annotations",
        description="Whether phases are told as moments, or as durations in milliseconds.",
    )
    http_response_header_for_traceid: ResponseHeader = None
    header_type: HeadersOfTraces = PRESERVE
    default_header_type: FormatName = Field(
        default="b3", description="The format where none came, unless `propagation` says more."
    )
    propagation: ZipkinPropagation = Field(
        default_factory=ZipkinPropagation, description="Headers of traces."
    )
    connect_timeout: ConnectTimeout = 2000
    send_timeout: SendTimeout = 5000
    read_timeout: ReadTimeout = 5000
    queue: Terms = Field(default_factory=Terms, description="How traces are queued.")

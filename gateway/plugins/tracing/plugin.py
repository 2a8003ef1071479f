"""The base of plugins that tell a collector the spans of requests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Protocol

import httpx
from pydantic import Field

from gateway.access_log import Record as Told
from gateway.entities.errors import violation
from gateway.entities.rules import Between, Satisfies
from gateway.entities.types import HeaderName
from gateway.plugins.contract import Plugin
from gateway.plugins.http_post import HttpPost, TimeoutMs
from gateway.plugins.lines import LineError, checked_name
from gateway.plugins.outcome import Outcome
from gateway.plugins.request import Request
from gateway.plugins.response import Response
from gateway.plugins.tracing.propagation import HeaderType, Propagator, Way
from gateway.plugins.tracing.trace import Trace

IDLE_S = 60.0
"""How long a connection to a collector is kept that nothing is sent over."""


def _check_may_be_set(name: str) -> str:
    try:
        return checked_name(name)
    except LineError as error:
        raise violation(str(error)) from None


ConnectTimeout = Annotated[TimeoutMs, Field(description="Milliseconds to connect.")]
SendTimeout = Annotated[TimeoutMs, Field(description="Milliseconds between two writes.")]
ReadTimeout = Annotated[TimeoutMs, Field(description="Milliseconds between two reads.")]
Ratio = Annotated[float, Between(0, 1)]
ResponseHeader = Annotated[
    Annotated[HeaderName, Satisfies(_check_may_be_set)] | None,
    Field(
        description="Header of the response that has the trace's id, in hexadecimal; null: none."
    ),
]
HeadersOfTraces = Annotated[
    HeaderType,
    Field(
        description="Which headers tell the service the trace, unless `propagation` says so: "
        "`preserve` has those that came, a format these and its own, `ignore` does not read them."
    ),
]


class Patience(Protocol):
    """How long a collector is waited for, in milliseconds."""

    connect_timeout: int
    send_timeout: int
    read_timeout: int


def post_to(url: str, headers: Mapping[str, str], patience: Patience) -> HttpPost:
    """Return the way to a collector."""
    connect_s = patience.connect_timeout / 1000
    send_s, read_s = patience.send_timeout / 1000, patience.read_timeout / 1000
    return HttpPost(
        url,
        headers,
        timeout_s=connect_s + send_s + read_s,
        timeouts=httpx.Timeout(connect=connect_s, write=send_s, read=read_s, pool=connect_s),
        keepalive_s=IDLE_S,
    )


class Tracing(Plugin):
    """Finds the trace of a request, passes it on, and tells it in the end if it is sampled."""

    def follow(
        self,
        way: Way,
        rate: float,
        *,
        tells: bool,
        response_header: str | None,
        id_bytes: int = 16,
    ) -> None:
        """Set what is done with each request; ``tells`` is whether there is a collector."""
        self._propagator = Propagator(way, id_bytes)
        self._rate = rate
        self._response_header = response_header
        if tells:  # a phase that is not there costs nothing
            self.ended, self.log = self._is_sampled, self._tell
        if response_header is not None:
            self.header_filter = self._tell_client

    def access(self, request: Request) -> None:
        """Tell the service what trace the request belongs to."""
        self._propagator.pass_on(request, self._rate)

    def _is_sampled(self, request: Request, outcome: Outcome) -> bool:
        """Tell whether the spans are told; also of a request that was refused before it came."""
        del outcome
        return self._propagator.trace_of(request).is_sampled_at(self._rate)

    def _tell(self, request: Request, record: Told) -> None:
        self.tell(request, record, self._propagator.trace_of(request))

    @abstractmethod
    def tell(self, request: Request, record: Told, trace: Trace) -> None:
        """Queue the spans of a request."""

    def _tell_client(self, request: Request, response: Response) -> None:
        assert self._response_header is not None  # noqa: S101 - else there is no such phase
        trace = self._propagator.trace_of(request)
        response.set_header(self._response_header, f"{trace.trace_id:032x}")

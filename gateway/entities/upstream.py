"""Upstream: a virtual host whose targets share the load. Sheet: entities.md, 3.3."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.entities.checks import Conditional, Distinct, Is, IsSet
from gateway.entities.entity import (
    ForeignKey,
    Given,
    Operation,
    Record,
    Reference,
    Unique,
    UpdatedEntity,
)
from gateway.entities.entity_type import EntityType
from gateway.entities.errors import violation
from gateway.entities.hosts import HostError, HostKind, parse_host
from gateway.entities.rules import Between, ErrorsAsOne, OneOf, Satisfies, Without
from gateway.entities.types import (
    CookieName,
    HeaderName,
    HostWithOptionalPort,
    Number,
    Path,
    ServerName,
    Text,
    WholeNumber,
)

HASH_INPUTS = ("none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture")

Seconds = Annotated[Number, Between(0, 65_535)]
StatusCodes = list[Annotated[WholeNumber, Between(100, 999)]]
Counter = Annotated[WholeNumber, Between(0, 255)]
ProbeType = Annotated[Text, OneOf("tcp", "http", "https", "grpc", "grpcs")]
HashInput = Annotated[Text, OneOf(*HASH_INPUTS)]
_NO_BREAK = "must not contain a line break"
HeaderValue = Annotated[Text, Without("\r", _NO_BREAK), Without("\n", _NO_BREAK)]
ProbeHeaders = Annotated[dict[HeaderName, list[HeaderValue]], ErrorsAsOne()]


def _upstream_name(value: str) -> str:
    problem = _name_problem(value)
    if problem:
        raise violation(f"Invalid name ('{value}'); {problem}")
    return value


def _name_problem(value: str) -> str | None:
    try:
        host = parse_host(value)
    except HostError:
        return "must be a valid hostname"
    if host.kind is not HostKind.NAME:
        return "no ip addresses allowed"
    return "no port allowed" if host.port is not None else None


class ActiveHealthy(Record):
    """When a probed target counts as healthy."""

    interval: Seconds | None = Field(default=0, description="Seconds between probes; 0: none.")
    http_statuses: StatusCodes | None = Field(
        default=[200, 302], description="Codes of a good answer."
    )
    successes: Counter | None = Field(default=0, description="Good answers it takes; 0: off.")


class ActiveUnhealthy(Record):
    """When a probed target counts as unhealthy."""

    interval: Seconds | None = Field(default=0, description="Seconds between probes; 0: none.")
    http_statuses: StatusCodes | None = Field(
        default=[429, 404, 500, 501, 502, 503, 504, 505], description="Codes of a bad answer."
    )
    tcp_failures: Counter | None = Field(
        default=0, description="Failed connections it takes; 0: off."
    )
    timeouts: Counter | None = Field(default=0, description="Timeouts it takes; 0: off.")
    http_failures: Counter | None = Field(default=0, description="Bad answers it takes; 0: off.")


class Active(Record):
    """Health checks by probes of the node's own."""

    type: ProbeType | None = Field(default="http", description="Protocol of the probes.")
    timeout: Seconds | None = Field(default=1, description="Deadline of a probe in seconds.")
    concurrency: Annotated[WholeNumber, Between(1, 2_147_483_648)] | None = Field(
        default=10, description="Targets probed at once."
    )
    http_path: Path | None = Field(default="/", description="Path that is requested.")
    https_sni: ServerName | None = Field(default=None, description="Server name for TLS probes.")
    https_verify_certificate: bool = Field(
        default=True, description="Whether TLS probes verify the target's certificate."
    )
    headers: ProbeHeaders | None = Field(default=None, description="Headers the probes carry.")
    healthy: ActiveHealthy | None = Field(
        default=ActiveHealthy(), description="What makes a target healthy."
    )
    unhealthy: ActiveUnhealthy | None = Field(
        default=ActiveUnhealthy(), description="What makes a target unhealthy."
    )


class PassiveHealthy(Record):
    """When a target counts as healthy by the traffic it answers."""

    http_statuses: StatusCodes | None = Field(
        default=[*range(200, 209), 226, *range(300, 309)], description="Codes of a good answer."
    )
    successes: Counter | None = Field(default=0, description="Good answers it takes; 0: off.")


class PassiveUnhealthy(Record):
    """When a target counts as unhealthy by the traffic it answers."""

    http_statuses: StatusCodes | None = Field(
        default=[429, 500, 503], description="Codes of a bad answer."
    )
    tcp_failures: Counter | None = Field(
        default=0, description="Failed connections it takes; 0: off."
    )
    timeouts: Counter | None = Field(default=0, description="Timeouts it takes; 0: off.")
    http_failures: Counter | None = Field(default=0, description="Bad answers it takes; 0: off.")


class Passive(Record):
    """Health checks by watching the proxied traffic."""

    type: ProbeType | None = Field(
        default="http", description="What is watched: HTTP or connections."
    )
    healthy: PassiveHealthy | None = Field(
        default=PassiveHealthy(), description="What makes a target healthy."
    )
    unhealthy: PassiveUnhealthy | None = Field(
        default=PassiveUnhealthy(), description="What makes a target unhealthy."
    )


class HealthChecks(Record):
    """How the health of an upstream's targets is found out."""

    active: Active | None = Field(default=Active(), description="Probes.")
    passive: Passive | None = Field(default=Passive(), description="Watched traffic.")
    threshold: Annotated[Number, Between(0, 100)] | None = Field(
        default=0,
        description="Percentage of available weight below which the upstream is unhealthy.",
    )


class Upstream(UpdatedEntity):
    """A virtual host whose targets share the load."""

    name: Annotated[Text, Satisfies(_upstream_name), Unique()] = Field(
        description="Host name that services refer to."
    )
    algorithm: (
        Annotated[Text, OneOf("consistent-hashing", "least-connections", "round-robin", "latency")]
        | None
    ) = Field(default="round-robin", description="How a target is chosen.")
    hash_on: HashInput | None = Field(
        default="none", description="What is hashed to choose a target."
    )
    hash_fallback: HashInput | None = Field(
        default="none", description="What is hashed when `hash_on` yields nothing."
    )
    hash_on_header: HeaderName | None = Field(default=None, description="Header that is hashed.")
    hash_fallback_header: HeaderName | None = Field(
        default=None, description="Header that is hashed as fallback."
    )
    hash_on_cookie: CookieName | None = Field(default=None, description="Cookie that is hashed.")
    hash_on_cookie_path: Path | None = Field(
        default="/", description="Path of the cookie that is set when a client has none."
    )
    hash_on_query_arg: Text | None = Field(
        default=None, description="Query argument that is hashed."
    )
    hash_fallback_query_arg: Text | None = Field(
        default=None, description="Query argument that is hashed as fallback."
    )
    hash_on_uri_capture: Text | None = Field(
        default=None, description="Capture of the route's path that is hashed."
    )
    hash_fallback_uri_capture: Text | None = Field(
        default=None, description="Capture of the route's path that is hashed as fallback."
    )
    slots: Annotated[WholeNumber, Between(10, 65_536)] | None = Field(
        default=10_000, description="Slots on the ring the targets share."
    )
    healthchecks: HealthChecks | None = Field(
        default=HealthChecks(), description="How targets' health is found out."
    )
    host_header: HostWithOptionalPort | None = Field(
        default=None, description="Host header sent to targets."
    )
    client_certificate: Annotated[
        Reference | None, ForeignKey("certificates", unique_fields=())
    ] = Field(default=None, description="Certificate shown to targets.")
    use_srv_name: bool | None = Field(
        default=False, description="Whether a target's SRV name is its Host header."
    )

    @classmethod
    def expand(cls, given: Given, operation: Operation) -> Given:
        """Let the algorithm and ``hash_on`` follow each other, the algorithm going first."""
        del operation
        if given.get("algorithm") in ("least-connections", "latency"):
            return given | {"hash_on": "none"}
        if "hash_on" not in given:
            return given
        if given["hash_on"] is None:
            return given | {"hash_on": "none"}
        hashes = given["hash_on"] != "none"
        return given | {"algorithm": "consistent-hashing" if hashes else "round-robin"}


def _needs(field: str, hash_input: str, needed: str) -> Conditional:
    return Conditional(field, Is((hash_input,)), needed, IsSet())


def _allows(hash_on: str, *fallbacks: str) -> Conditional:
    return Conditional("hash_on", Is((hash_on,)), "hash_fallback", Is(fallbacks))


UPSTREAMS = EntityType(
    Upstream,
    table="upstreams",
    singular="upstream",
    endpoint_key="name",
    checks=(
        _needs("hash_on", "header", "hash_on_header"),
        _needs("hash_fallback", "header", "hash_fallback_header"),
        _needs("hash_on", "cookie", "hash_on_cookie"),
        _needs("hash_fallback", "cookie", "hash_on_cookie"),
        _needs("hash_on", "query_arg", "hash_on_query_arg"),
        _needs("hash_fallback", "query_arg", "hash_fallback_query_arg"),
        _needs("hash_on", "uri_capture", "hash_on_uri_capture"),
        _needs("hash_fallback", "uri_capture", "hash_fallback_uri_capture"),
        _allows("none", "none"),
        _allows("cookie", "none"),
        _allows("consumer", "none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"),
        _allows("ip", "none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"),
        _allows("path", "none", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture"),
        Distinct(("hash_on_header", "hash_fallback_header")),
        Distinct(("hash_on_query_arg", "hash_fallback_query_arg")),
        Distinct(("hash_on_uri_capture", "hash_fallback_uri_capture")),
    ),
)

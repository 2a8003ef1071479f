"""What may stand in the config of rate-limiting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from gateway.entities.checks import quoted
from gateway.entities.entity import Record, Secret
from gateway.entities.errors import ENTITY, REQUIRED, violation
from gateway.entities.rules import Between, MoreThan, OneOf, Satisfies
from gateway.entities.types import (
    HeaderName,
    HostText,
    Integer,
    Number,
    Path,
    PortNumber,
    Text,
    WholeNumber,
)
from gateway.plugins.rate_limiting.periods import PERIODS, Period

SYNCHRONOUS = -1

_OLD_REDIS = "redis_"

Limit = Annotated[Number, MoreThan(0)]


def _only_local(policy: str) -> str:
    if policy != "local":
        raise violation(f"policy '{policy}' is not supported: each node counts by itself ('local')")
    return policy


def _only_synchronous(seconds: float) -> float:
    if seconds != SYNCHRONOUS:
        raise violation("must be -1: with the policy 'local' there is nothing to synchronise")
    return seconds


class Redis(Record):
    """Where the counters are with the policy ``redis``."""

    host: HostText | None = Field(default=None, description="Its host.")
    port: PortNumber = Field(default=6379, description="Its port.")
    timeout: Annotated[Integer, Between(0, 2**31 - 2)] = Field(
        default=2000, description="How long it may take, in milliseconds."
    )
    username: Annotated[Text | None, Secret()] = Field(default=None, description="Who logs in.")
    password: Annotated[Text | None, Secret()] = Field(default=None, description="The password.")
    database: Integer = Field(default=0, description="Number of the database.")
    ssl: bool = Field(default=False, description="Whether to connect over TLS.")
    ssl_verify: bool = Field(default=False, description="Whether its certificate is verified.")
    server_name: Text | None = Field(default=None, description="The server name in TLS.")


class Limits(Record):
    """How many requests from whom are let through."""

    second: Limit | None = Field(default=None, description="Most requests in a second.")
    minute: Limit | None = Field(default=None, description="Most requests in a minute.")
    hour: Limit | None = Field(default=None, description="Most requests in an hour.")
    day: Limit | None = Field(default=None, description="Most requests in a day.")
    month: Limit | None = Field(default=None, description="Most requests in a month.")
    year: Limit | None = Field(default=None, description="Most requests in a year.")
    limit_by: Annotated[
        Text, OneOf("consumer", "credential", "ip", "service", "header", "path")
    ] = Field(
        default="consumer",
        description="What requests are told apart by; those that have no such thing, by the "
        "client's address.",
    )
    header_name: HeaderName | None = Field(
        default=None, description="The header that requests are told apart by."
    )
    path: Path | None = Field(
        default=None, description="The path whose requests are counted together."
    )
    policy: Annotated[Text, OneOf("local", "cluster", "redis"), Satisfies(_only_local)] = Field(
        default="local", description="Where is counted; only `local`, on each node, is supported."
    )
    fault_tolerant: bool = Field(
        default=True, description="Whether requests pass while the counters cannot be reached."
    )
    redis: Redis = Field(
        default_factory=Redis, description="The Redis of the policy `redis`, which is refused."
    )
    hide_client_headers: bool = Field(
        default=False, description="Whether clients are not told of limits and what is left."
    )
    error_code: Annotated[WholeNumber, MoreThan(0), Between(200, 599)] = Field(
        default=429, description="Status of a refusal."
    )
    error_message: Text = Field(
        default="API rate limit exceeded", description="What a refusal says."
    )
    sync_rate: Annotated[Number, Satisfies(_only_synchronous)] = Field(
        default=SYNCHRONOUS, description="Seconds between synchronisations; -1: none."
    )

    @property
    def limits(self) -> Iterator[tuple[Period, float]]:
        """Each period that has a limit, and the limit, the shortest first."""
        for period in PERIODS:
            limit = getattr(self, period.name)
            if limit is not None:
                yield period, limit

    @model_validator(mode="before")
    @classmethod
    def _take_old_names(cls, given: Any) -> Any:
        """Take ``redis_host`` and the like, which older clients send, as fields of ``redis``."""
        if not isinstance(given, dict):
            return given
        old = {name for name in given if str(name).startswith(_OLD_REDIS)}
        redis = given.get("redis") or {}
        if not old or not isinstance(redis, dict):
            return given
        moved = {name.removeprefix(_OLD_REDIS): given[name] for name in old}
        kept = {name: value for name, value in given.items() if name not in old}
        return kept | {"redis": redis | {n: v for n, v in moved.items() if v is not None}}

    @model_validator(mode="after")
    def _has_limits_in_order(self) -> Self:
        limits = list(self.limits)
        if not limits:
            names = quoted(f"config.{period.name}" for period in PERIODS)
            raise violation(f"at least one of these fields must be non-empty: {names}", at=ENTITY)
        for (short, fewer), (long, more) in itertools.combinations(limits, 2):
            if more < fewer:
                raise violation(
                    f"The limit for {long.name}({more:.1f}) cannot be lower than "
                    f"the limit for {short.name}({fewer:.1f})"
                )
        return self

    @model_validator(mode="after")
    def _says_what_to_tell_requests_apart_by(self) -> Self:
        if self.limit_by == "header" and self.header_name is None:
            raise violation(REQUIRED, at="header_name")
        if self.limit_by == "path" and self.path is None:
            raise violation(REQUIRED, at="path")
        return self

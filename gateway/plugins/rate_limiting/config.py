"""What may stand in the config of rate-limiting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from gateway.entities.checks import quoted
from gateway.entities.entity import Record
from gateway.entities.errors import ENTITY, REQUIRED, violation
from gateway.entities.rules import Between, MoreThan, OneOf, Satisfies
from gateway.entities.types import (
    HeaderName,
    Number,
    Path,
    Text,
    WholeNumber,
)
from gateway.plugins.rate_limiting.periods import PERIODS, Period
from gateway.plugins.rate_limiting.policy import Policy

SYNCHRONOUS = -1
LEAST_SYNC_RATE_S = 0.02

Limit = Annotated[Number, MoreThan(0)]


def _not_too_often(seconds: float) -> float:
    if seconds != SYNCHRONOUS and seconds < LEAST_SYNC_RATE_S:
        raise violation(f"must be -1, or at least {LEAST_SYNC_RATE_S} seconds")
    return seconds


class PeriodLimits(Record):
    """The most in a window of each period; null: any number."""

    place: ClassVar[str] = ""
    """Where they stand in a config."""

    second: Limit | None = Field(default=None, description="Most requests in a second.")
    minute: Limit | None = Field(default=None, description="Most requests in a minute.")
    hour: Limit | None = Field(default=None, description="Most requests in an hour.")
    day: Limit | None = Field(default=None, description="Most requests in a day.")
    month: Limit | None = Field(default=None, description="Most requests in a month.")
    year: Limit | None = Field(default=None, description="Most requests in a year.")

    @property
    def limits(self) -> Iterator[tuple[Period, float]]:
        """Each period that has a limit, and the limit, the shortest first."""
        for period in PERIODS:
            limit = getattr(self, period.name)
            if limit is not None:
                yield period, limit

    @model_validator(mode="after")
    def _has_limits_in_order(self) -> Self:
        limits = list(self.limits)
        if not limits:
            names = quoted(f"{self.place}{period.name}" for period in PERIODS)
            raise violation(f"at least one of these fields must be non-empty: {names}", at=ENTITY)
        for (short, fewer), (long, more) in itertools.combinations(limits, 2):
            if more < fewer:
                raise violation(
                    f"The limit for {long.name}({more:.1f}) cannot be lower than "
                    f"the limit for {short.name}({fewer:.1f})"
                )
        return self


class Limits(Policy, PeriodLimits):
    """How many requests from whom are let through."""

    place = "config."

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
    error_code: Annotated[WholeNumber, MoreThan(0), Between(200, 599)] = Field(
        default=429, description="Status of a refusal."
    )
    error_message: Text = Field(
        default="API rate limit exceeded", description="What a refusal says."
    )
    sync_rate: Annotated[Number, Satisfies(_not_too_often)] = Field(
        default=SYNCHRONOUS,
        description="With the policy `redis`, seconds after which Redis is told what was counted; "
        "-1: each request waits for it.",
    )

    @model_validator(mode="after")
    def _says_what_to_tell_requests_apart_by(self) -> Self:
        if self.limit_by == "header" and self.header_name is None:
            raise violation(REQUIRED, at="header_name")
        if self.limit_by == "path" and self.path is None:
            raise violation(REQUIRED, at="path")
        return self

    @model_validator(mode="after")
    def _synchronises_with_redis_only(self) -> Self:
        if self.policy != "redis" and self.sync_rate != SYNCHRONOUS:
            raise violation("must be -1 unless the policy is 'redis'", at="sync_rate")
        return self

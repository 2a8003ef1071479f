"""What may stand in the config of response-ratelimiting."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.entities.rules import AtLeast, AtMost, OneOf
from gateway.entities.types import HeaderName, Text
from gateway.plugins.rate_limiting.config import PeriodLimits
from gateway.plugins.rate_limiting.policy import Policy

MOST_LIMITS = 100


class Limits(Policy):
    """How much of what may be used by whom."""

    limits: Annotated[dict[HeaderName, PeriodLimits], AtLeast(1), AtMost(MOST_LIMITS)] = Field(
        description="By its name, how much of something may be used in a period."
    )
    header_name: HeaderName = Field(
        default="x-kong-limit", description="The header in which services tell what they have used."
    )
    limit_by: Annotated[Text, OneOf("consumer", "credential", "ip")] = Field(
        default="consumer",
        description="What requests are told apart by; those that have no such thing, by the "
        "client's address.",
    )
    block_on_first_violation: bool = Field(
        default=False,
        description="Whether requests are refused when nothing is left of any limit, before "
        "the service has told what it would use.",
    )

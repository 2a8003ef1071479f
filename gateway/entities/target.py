"""Target: an address behind an upstream. Sheet: entities.md, 3.4."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from gateway.entities.entity import ForeignKey, Reference, UpdatedEntity
from gateway.entities.entity_type import EntityType
from gateway.entities.errors import violation
from gateway.entities.hosts import HostError, parse_host
from gateway.entities.rules import Between, Satisfies
from gateway.entities.types import PreciseTimestamp, Text, WholeNumber

DEFAULT_PORT = 8000


def _formatted(value: str) -> str:
    try:
        return parse_host(value).with_port(DEFAULT_PORT)
    except HostError:
        raise violation("Invalid target; not a valid hostname or ip address") from None


class Target(UpdatedEntity):
    """An address behind an upstream."""

    created_at: PreciseTimestamp = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was created."
    )
    updated_at: PreciseTimestamp = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was written last."
    )
    upstream: Annotated[Reference, ForeignKey("upstreams", on_delete="cascade")] = Field(
        description="The upstream it belongs to."
    )
    target: Annotated[Text, Satisfies(_formatted)] = Field(
        description="`host:port`; port 8000 if none is given."
    )
    weight: Annotated[WholeNumber, Between(0, 65_535)] | None = Field(
        default=100, description="Share of the load relative to the other targets; 0: none."
    )


TARGETS = EntityType(
    Target,
    table="targets",
    singular="target",
    endpoint_key="target",
    composite_uniques=(("upstream", "target"),),
)

"""Consumer: who uses the services, known by their credentials. Sheet: entities.md, 3.5."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.entities.checks import AtLeastOneOf
from gateway.entities.entity import ForeignKey, Unique, UpdatedEntity
from gateway.entities.entity_type import EntityType
from gateway.entities.types import Text

OF_CONSUMER = ForeignKey("consumers", on_delete="cascade", unique_fields=("username", "custom_id"))
"""What belongs to a consumer, and goes with it."""


class Consumer(UpdatedEntity):
    """Who uses the services: a person, a team, a program."""

    username: Annotated[Text | None, Unique()] = Field(
        default=None, description="Name, by which URLs can call it."
    )
    custom_id: Annotated[Text | None, Unique()] = Field(
        default=None, description="What another system calls it."
    )


CONSUMERS = EntityType(
    Consumer,
    table="consumers",
    singular="consumer",
    endpoint_key="username",
    checks=(AtLeastOneOf(("custom_id", "username")),),
)

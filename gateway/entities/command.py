"""Command: an order to all nodes that is no configuration, but travels as if it were.

So it has a version, reaches each node by every sync strategy, can be waited for, and is in the
audit log. A node carries it out once, when it applies that version. The row stays for an hour: a
node that starts, or comes back, within it carries the command out as well.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from gateway.entities.entity import Entity, TimeToLive
from gateway.entities.entity_type import EntityType
from gateway.entities.types import Text

KEPT_S = 3600


class Command(Entity):
    """What all nodes are to do, once."""

    name: Text = Field(description="What is to be done: `target.healthy`, `proxy-cache.purge`.")
    subject: UUID | None = Field(default=None, description="The entity it is about, if one.")
    arguments: dict[str, Any] = Field(description="What else there is to say, by name.")
    version: int = Field(description="The version that brings it: commands have an order.")
    ttl: Annotated[int | None, TimeToLive()] = Field(
        description="Seconds after which nobody is to carry it out any more."
    )


COMMANDS = EntityType(Command, table="commands", singular="command", endpoint_key=None)

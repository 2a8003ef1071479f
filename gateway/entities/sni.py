"""SNI: a server name that a certificate is shown for. Sheet: entities.md, 3.8."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.entities.entity import ForeignKey, Reference, Unique, UpdatedEntity
from gateway.entities.entity_type import EntityType
from gateway.entities.types import WildcardHost


class Sni(UpdatedEntity):
    """A server name that a certificate is shown for."""

    name: Annotated[WildcardHost, Unique()] = Field(
        description="Host name, with at most one `*` at its beginning or end."
    )
    certificate: Annotated[
        Reference, ForeignKey("certificates", on_delete="cascade", unique_fields=())
    ] = Field(description="Certificate that is shown.")


SNIS = EntityType(Sni, table="snis", singular="sni", endpoint_key="name")

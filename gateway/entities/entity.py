"""What every entity is: a frozen model of declared fields, with references to other entities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import UUID, uuid4

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from gateway.entities.annotations import allows_none
from gateway.entities.errors import violation
from gateway.entities.types import Id, Tags, Text, Timestamp

Given = dict[str, Any]
"""What a client sent: field name to JSON value."""

Operation = Literal["create", "upsert", "update"]


class Record(BaseModel):
    """A group of fields: an entity, or a part of one that has fields of its own."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Entity(Record):
    """The fields every entity has.

    ``shorthands`` are names that ``expand`` replaces by fields, each with what it stands for.
    """

    shorthands: ClassVar[Mapping[str, str]] = {}

    id: Id = Field(default_factory=uuid4, description="Identity; chosen by the server if absent.")
    created_at: Timestamp = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was created or replaced."
    )
    tags: Tags | None = Field(default=None, description="Words to group and filter entities by.")

    @classmethod
    def expand(cls, given: Given, operation: Operation) -> Given:
        """Return what was given with shorthands resolved and dependent fields adjusted."""
        del operation
        return given

    @field_validator("*", mode="after")
    @classmethod
    def _note_as_fine(cls, value: Any, info: ValidationInfo) -> Any:
        # The entity's checks run on the fields that passed, even when others did not.
        if info.context is not None and info.field_name is not None:
            info.context[info.field_name] = value
        return value


class UpdatedEntity(Entity):
    """An entity that also keeps when it was written last."""

    updated_at: Timestamp = Field(
        default_factory=lambda: datetime.now(UTC), description="When it was written last."
    )


@dataclass(frozen=True, slots=True)
class Unique:
    """Marks a field whose value at most one entity of the type may have."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Marks a field that is written with the entity but kept in rows of another table."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Marks a field whose value is for those only who use the entity: logs show asterisks."""


@dataclass(frozen=True, slots=True)
class TimeToLive:
    """Marks the seconds after which an entity is gone; kept is the moment, in ``expires_at``."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Another entity, named by its ``id`` or by one of its unique fields."""

    field: str
    value: UUID | str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Makes a field a reference to an entity of ``table``: ``{"id": …}`` or ``{"name": …}``."""

    table: str
    on_delete: Literal["restrict", "cascade"] = "restrict"
    unique_fields: tuple[str, ...] = ("name",)

    def refer(self, value: dict[str, Any]) -> Reference:
        """Return whom ``value`` names; the id goes first. Raises a violation."""
        for field in ("id", *self.unique_fields):
            if value.get(field) is not None:
                return Reference(field, value[field])
        raise violation("missing primary key", at="id")

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        texts = dict.fromkeys(self.unique_fields, handler.generate_schema(Text | None))
        names = {"id": handler.generate_schema(Id | None), **texts}
        given = core_schema.typed_dict_schema(
            {n: core_schema.typed_dict_field(s, required=False) for n, s in names.items()},
            extra_behavior="ignore",
        )
        reference = core_schema.no_info_after_validator_function(self.refer, given)
        checked = core_schema.no_info_before_validator_function(_must_be_a_record, reference)
        return core_schema.nullable_schema(checked) if allows_none(source) else checked


def _must_be_a_record(value: Any) -> Any:
    if value is not None and not isinstance(value, dict):
        raise violation("expected a record")
    return value

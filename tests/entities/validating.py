"""Short words for what the tests here do: give fields, see them accepted or refused."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entities import EntityType, Operation, SchemaViolationError


def accepted(
    entity_type: EntityType, given: dict[str, Any], operation: Operation = "create"
) -> dict[str, Any]:
    """The given fields as the API would write the accepted entity."""
    entity = entity_type.validate(entity_type.expand(given, operation), operation)
    return entity_type.to_api(entity_type.to_row(entity))


def refused(
    entity_type: EntityType, given: dict[str, Any], operation: Operation = "create"
) -> dict[str, Any]:
    """The error tree with which the given fields are refused."""
    with pytest.raises(SchemaViolationError) as refusal:
        accepted(entity_type, given, operation)
    return refusal.value.fields

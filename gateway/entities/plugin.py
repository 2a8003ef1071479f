"""Plugin: one use of a plugin, its scope and configuration. Sheet: entities.md, 3.6.

What may stand in ``config`` is the business of the plugin that ``name`` names.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from gateway.entities.consumer import OF_CONSUMER
from gateway.entities.entity import (
    Entity,
    ForeignKey,
    Given,
    Operation,
    Reference,
    Unique,
    UpdatedEntity,
)
from gateway.entities.entity_type import EntityType, merge_records
from gateway.entities.errors import REQUIRED, SchemaViolationError, Tree, error_tree
from gateway.entities.rules import AtLeast, Unrepeated
from gateway.entities.types import Protocol, Text, Utf8Name
from gateway.plugins import registry

SCOPES = ("route", "service", "consumer")
"""What a plugin can be limited to; without any of them it is for all requests."""


class PluginUse(UpdatedEntity):
    """One use of a plugin."""

    name: Text = Field(description="Which plugin it is.")
    instance_name: Annotated[Utf8Name | None, Unique()] = Field(
        default=None, description="Name of this use, by which URLs can call it."
    )
    route: Annotated[Reference | None, ForeignKey("routes", on_delete="cascade")] = Field(
        default=None, description="The route it is for; null: all."
    )
    service: Annotated[Reference | None, ForeignKey("services", on_delete="cascade")] = Field(
        default=None, description="The service it is for; null: all."
    )
    consumer: Annotated[Reference | None, OF_CONSUMER] = Field(
        default=None, description="The consumer it is for; null: all."
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="What the plugin wants to know."
    )
    protocols: Annotated[list[Protocol], AtLeast(1), Unrepeated()] = Field(
        default=["grpc", "grpcs", "http", "https"], description="Protocols it is for."
    )
    enabled: bool = Field(default=True, description="Whether it does anything.")


class PluginType(EntityType):
    """The kind of entity whose ``config`` is declared by a plugin."""

    def validate(self, given: Given, operation: Operation = "create") -> Entity:
        """Return the entity with its ``config`` filled in; that of an unknown plugin is refused."""
        tree: Tree = {}
        if "name" in given:
            plugin = registry.present().get(str(given["name"]))
            if plugin is None:
                tree = {"name": _not_present(given["name"])}
            else:
                tree = _scope_problems(plugin, given)
                given, config_tree = _configured(plugin, given)
                tree |= config_tree
        try:
            entity = super().validate(given, operation)
        except SchemaViolationError as error:
            raise SchemaViolationError(error.fields | tree) from None
        if tree:
            raise SchemaViolationError(tree)
        return entity

    def merge(self, stored: Given, given: Given) -> Given:
        """Return ``stored`` with ``given`` over it, the config merged as its plugin declares it."""
        merged = super().merge(stored, given)
        plugin = registry.present().get(str(merged.get("name")))
        before, changes = stored.get("config"), given.get("config")
        if plugin is not None and isinstance(before, dict) and isinstance(changes, dict):
            merged["config"] = merge_records(plugin.Config, before, changes)
        return merged


def _not_present(name: Any) -> str:
    if not isinstance(name, str):
        return REQUIRED if name is None else "expected a string"
    present = ", ".join(sorted(registry.present())) or "none"
    return f"plugin '{name}' not enabled; plugins present on this node: {present}"


def _scope_problems(plugin: registry.Plugin, given: Given) -> Tree:
    return {
        scope: "value must be null"
        for scope in SCOPES
        if scope not in plugin.scopes and given.get(scope) is not None
    }


def _configured(plugin: registry.Plugin, given: Given) -> tuple[Given, Tree]:
    """Return ``given`` with its config complete, and what is wrong with that."""
    config = given.get("config")
    try:
        complete = plugin.Config.model_validate({} if config is None else config)
    except ValidationError as error:
        found = error_tree(error.errors(include_url=False))
        return given | {"config": {}}, {"config": found or REQUIRED}
    return given | {"config": complete.model_dump(mode="json")}, {}


PLUGINS = PluginType(
    PluginUse,
    table="plugins",
    singular="plugin",
    endpoint_key="instance_name",
    composite_uniques=(("name", "route", "service", "consumer"),),
)

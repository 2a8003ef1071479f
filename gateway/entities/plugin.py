"""Plugin: one use of a plugin, its scope and configuration. Sheet: entities.md, 3.6.

What may stand in an entity is also the business of the plugin that ``name`` names: each has a model
of its own, with the plugin's ``Config``.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

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
from gateway.entities.entity_type import EntityType
from gateway.entities.errors import ENTITY, SchemaViolationError, Tree, violation
from gateway.entities.masking import MASK, masked
from gateway.entities.rules import AtLeast, OneOf, Rule, Satisfies, Unrepeated
from gateway.entities.types import Protocol, Text, Utf8Name
from gateway.plugins import contract, registry

NOT_THE_ROUTES = "must match the associated route's protocols"
NO_ROUTES = "must match the protocols of at least one route pointing to this Plugin's service"
"""What is said of protocols that do not go with what a plugin is for (plugins.md section 1)."""


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
    """The kind of entity that has a model for each plugin."""

    def model_of(self, given: Given) -> type[Entity]:
        """Return the model for the plugin that is named, the generic one if it is not present."""
        name = given.get("name")
        is_present = isinstance(name, str) and name in registry.present()
        return _model_of(str(name)) if is_present else self.model

    def validate(self, given: Given, operation: Operation = "create") -> Entity:
        """Return the entity; without a plugin that is present, nothing else of it is judged."""
        if self.model_of(given) is self.model:
            name = given.get("name")
            problem = self.problem_with("name", name) or _not_present(name)
            raise SchemaViolationError({"name": problem})
        try:
            return super().validate(given, operation)
        except SchemaViolationError as error:
            raise SchemaViolationError(_with_config_as_a_whole(error.fields)) from None


def _with_config_as_a_whole(fields: Tree) -> Tree:
    """Return errors with those of a config as a whole told as Kong does: of the whole entity."""
    config = fields.get("config")
    if not isinstance(config, dict) or ENTITY not in config:
        return fields
    others = {name: found for name, found in config.items() if name != ENTITY}
    kept = {name: found for name, found in fields.items() if name != "config"}
    texts = [*fields.get(ENTITY, ()), *config[ENTITY]]
    return kept | ({"config": others} if others else {}) | {ENTITY: texts}


def shown_config(name: Any, config: Any) -> Any:
    """Return the config of a plugin, as JSON has it, with asterisks for what is secret in it.

    Which that is only the plugin knows: of one that is not present nothing is shown.
    """
    plugin = registry.present().get(name) if isinstance(name, str) else None
    if plugin is None or not isinstance(config, dict):
        return MASK
    return masked(plugin.Config, config)


def _not_present(name: Any) -> str:
    present = ", ".join(sorted(registry.present())) or "none"
    return f"plugin '{name}' not enabled; plugins present on this node: {present}"


@cache
def _model_of(name: str) -> type[PluginUse]:
    """Return what a use of this plugin may be: with its config, for its protocols and scopes."""
    plugin, declared = registry.present()[name], PluginUse.model_fields
    every_protocol: list[str] = declared["protocols"].default
    protocols = [protocol for protocol in every_protocol if protocol in plugin.protocols]
    config = Field(
        default_factory=dict, validate_default=True, description=declared["config"].description
    )
    fields: dict[str, Any] = {
        "config": (plugin.Config, config),
        "protocols": _narrowed(
            declared["protocols"],
            list[Annotated[Text, OneOf(*plugin.protocols)]],
            default=protocols or list(plugin.protocols),
        ),
    }
    for scope in contract.SCOPES.difference(plugin.scopes):
        fields[scope] = _narrowed(
            declared[scope], declared[scope].annotation, Satisfies(_must_be_null), default=None
        )
    return create_model(plugin.__name__, __base__=PluginUse, **fields)


def _narrowed(field: FieldInfo, annotation: Any, *rules: Rule, **options: Any) -> Any:
    """Return the declaration of a field that takes less than before."""
    annotated = Annotated[annotation, *field.metadata, *rules]
    return annotated, Field(description=field.description, **options)


def _must_be_null(value: Any) -> Any:
    if value is not None:
        raise violation("value must be null")
    return value


PLUGINS = PluginType(
    PluginUse,
    table="plugins",
    singular="plugin",
    endpoint_key="instance_name",
    composite_uniques=(("name", "route", "service", "consumer"),),
)

"""Schemas as Kong's clients read them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.entities import ENTITIES, EntityType, rules
from gateway.entities.credentials import JWT_SECRETS, KEYAUTH_CREDENTIALS
from gateway.entities.kong_schema import RULES, entity_schema, plugin_schema
from gateway.entities.plugin import PLUGINS
from gateway.entities.route import ROUTES
from gateway.entities.rules import Rule
from gateway.entities.service import SERVICES
from gateway.entities.target import TARGETS
from gateway.entities.upstream import UPSTREAMS
from gateway.plugins import registry
from gateway.plugins.contract import Plugin

from .validating import accepted

Schema = dict[str, Any]


def field(entity_type: EntityType, *path: str) -> Schema:
    """The attributes of a field, its description aside."""
    return attributes(entity_schema(entity_type), *path)


def attributes(schema: Schema, *path: str) -> Schema:
    for name in path:
        (schema,) = (it[name] for it in schema["fields"] if name in it)
    return {name: value for name, value in schema.items() if name != "description"}


@pytest.mark.parametrize(
    ("entity_type", "path", "expected"),
    [
        (SERVICES, ("id",), {"type": "string", "uuid": True, "auto": True}),
        (SERVICES, ("created_at",), {"type": "integer", "timestamp": True, "auto": True}),
        (TARGETS, ("created_at",), {"type": "number", "timestamp": True, "auto": True}),
        (SERVICES, ("retries",), {"type": "integer", "default": 5, "between": [0, 32767]}),
        (
            SERVICES,
            ("protocol",),
            {
                "type": "string",
                "required": True,
                "default": "http",
                "one_of": [
                    *("grpc", "grpcs", "http", "https"),
                    *("tcp", "tls", "tls_passthrough", "udp"),
                ],
            },
        ),
        (SERVICES, ("host",), {"type": "string", "required": True}),
        (SERVICES, ("client_certificate",), {"type": "foreign", "reference": "certificates"}),
        (
            TARGETS,
            ("upstream",),
            {
                "type": "foreign",
                "reference": "upstreams",
                "on_delete": "cascade",
                "required": True,
            },
        ),
        (
            SERVICES,
            ("ca_certificates",),
            {"type": "array", "elements": {"type": "string", "uuid": True}},
        ),
        (
            ROUTES,
            ("methods",),
            {"type": "set", "elements": {"type": "string", "match": "^[A-Z]+$"}},
        ),
        (
            ROUTES,
            ("headers",),
            {
                "type": "map",
                "keys": {"type": "string", "match": "^[A-Za-z0-9_-]+$"},
                "values": {"type": "array", "elements": {"type": "string"}},
            },
        ),
        (
            UPSTREAMS,
            ("healthchecks", "active", "healthy", "interval"),
            {"type": "number", "default": 0, "between": [0, 65535]},
        ),
        (
            KEYAUTH_CREDENTIALS,
            ("key",),
            {"type": "string", "auto": True, "unique": True, "encrypted": True},
        ),
    ],
)
def test_a_field_has_the_attributes_that_kong_gives_it(
    entity_type: EntityType, path: tuple[str, ...], expected: Schema
):
    assert field(entity_type, *path) == expected


def test_the_protocols_of_a_route_come_from_one_family():
    assert field(ROUTES, "protocols")["mutually_exclusive_subsets"][0] == ["http", "https"]


def test_the_fields_stand_in_the_order_of_the_declaration():
    names = [name for it in entity_schema(SERVICES)["fields"] for name in it]
    assert names == list(SERVICES.model.model_fields)


def test_a_condition_is_told():
    (check,) = entity_schema(JWT_SECRETS)["entity_checks"]
    assert check["conditional"]["if_field"] == "algorithm"
    assert "RS256" in check["conditional"]["if_match"]["one_of"]
    assert check["conditional"]["then_match"] == {"required": True}
    assert {
        "conditional": {
            "if_field": "protocol",
            "if_match": {"one_of": ["tcp", "tls", "udp", "grpc", "grpcs"]},
            "then_field": "path",
            "then_match": {"eq": None},
        }
    } in entity_schema(SERVICES)["entity_checks"]


@pytest.mark.parametrize(
    ("table", "check"),
    [
        ("consumers", {"at_least_one_of": ["custom_id", "username"]}),
        ("upstreams", {"distinct": ["hash_on_header", "hash_fallback_header"]}),
        ("certificates", {"mutually_required": ["cert_alt", "key_alt"]}),
        ("routes", {"custom_entity_check": {"field_sources": ["protocols", "snis"]}}),
    ],
)
def test_a_check_is_told(table: str, check: Schema):
    assert entity_schema(ENTITIES[table])["entity_checks"].count(check) == 1


def test_a_shorthand_is_told():
    (shorthand,) = entity_schema(SERVICES)["shorthand_fields"]
    assert shorthand["url"]["type"] == "string"
    assert "shorthand_fields" not in entity_schema(ROUTES)


@pytest.mark.parametrize("entity_type", ENTITIES.values(), ids=ENTITIES)
def test_every_schema_is_json_in_which_every_field_has_a_type(entity_type: EntityType):
    schema = json.loads(json.dumps(entity_schema(entity_type), allow_nan=False))
    assert all(told["type"] for told in every_field(schema))
    assert all(told["description"] for told in every_field(schema))


def every_field(schema: Schema) -> Iterator[Schema]:
    for it in schema.get("fields", ()):
        for told in it.values():
            yield told
            yield from every_field(told)
            yield from every_field(told.get("elements", {}))


def test_every_rule_is_told_or_is_a_function():
    declared = {
        it
        for it in vars(rules).values()
        if inspect.isclass(it) and issubclass(it, Rule) and it is not Rule
    }
    assert declared - RULES.keys() == {rules.Satisfies, rules.Unrepeated, rules.ErrorsAsOne}


# -- plugins


GATE_KEY, QUOTA = (registry.present()[name] for name in ("gate-key", "quota"))


def test_a_plugin_tells_its_configuration():
    schema = plugin_schema(QUOTA)
    assert attributes(schema, "config")["required"] is True
    assert attributes(schema, "config", "unit") == {"type": "string", "required": True}
    assert attributes(schema, "config", "minute") == {"type": "integer", "between": [0, 60]}
    assert attributes(schema, "config", "alarm", "after_s") == {
        "type": "number",
        "required": True,
        "default": 1.5,
    }
    (requests, _) = attributes(schema, "config", "limits")["elements"]["fields"]
    assert requests["requests"]["type"] == "integer"


def test_a_plugin_tells_what_it_cannot_be_limited_to():
    consumer = {"type": "foreign", "reference": "consumers", "eq": None}
    assert attributes(plugin_schema(GATE_KEY), "consumer") == consumer
    names = [name for it in plugin_schema(QUOTA)["fields"] for name in it]
    assert names == ["protocols", "config"]


def test_a_plugin_tells_its_protocols():
    protocols = attributes(plugin_schema(QUOTA), "protocols")
    assert protocols["default"] == ["http", "https"]
    assert protocols["elements"] == {"type": "string", "one_of": ["http", "https", "tcp"]}


@pytest.mark.parametrize(("plugin", "needed"), [(GATE_KEY, {}), (QUOTA, {"unit": "request"})])
def test_what_is_absent_from_a_configuration_is_stored_as_its_default(
    plugin: type[Plugin], needed: Schema
):
    """As decK takes it to be: where there is no default, it is null."""
    stored = accepted(PLUGINS, {"name": plugin.name, "config": needed})
    assert stored["config"] == filled(plugin_schema(plugin), "config") | needed
    assert stored["protocols"] == attributes(plugin_schema(plugin), "protocols")["default"]


def filled(schema: Schema, *path: str) -> Schema:
    return {
        name: filled(told) if "fields" in told else told.get("default")
        for it in attributes(schema, *path)["fields"]
        for name, told in it.items()
    }
